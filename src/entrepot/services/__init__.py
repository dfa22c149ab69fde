"""The verbs: what can be done with objects, uploads, projects and accounts. No HTTP, no SQL."""

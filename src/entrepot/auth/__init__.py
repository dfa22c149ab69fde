"""Who is calling, and may they? Pure proofs, and the one question `permissions.authorize`."""

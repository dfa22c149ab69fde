"""Bytes: drivers that hold them under keys we choose, and the store that receives, verifies and opens blobs."""

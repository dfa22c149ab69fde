"""The node cache: a folder of verified blobs on a worker. Its hit path imports the standard library only."""

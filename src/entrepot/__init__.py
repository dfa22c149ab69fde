"""entrepot: one verified store for container images, VM images and job artifacts; many protocols over it."""

__version__ = "0.1.0"

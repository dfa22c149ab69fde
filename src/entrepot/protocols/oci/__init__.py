"""OCI distribution: `/v2/…`, for docker, podman, skopeo, oras, crane, regctl, apptainer.

Source: opencontainers/distribution-spec 1.1 and what its main branch adds.
"""

from entrepot.protocols.oci.endpoint import Oci

__all__ = ["Oci"]

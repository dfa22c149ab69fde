"""entrepot: one verified store for container images, VM images and job artifacts; many protocols over it."""

__version__ = "0.1.0"

# typing would double the time of a cache hit; type checkers know the name
TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrepot.client.progress import Progress as Progress
    from entrepot.client.push import PushOptions as PushOptions
    from entrepot.client.remote import Client as Client
    from entrepot.client.remote_async import AsyncClient as AsyncClient
    from entrepot.client.results import Pushed as Pushed
    from entrepot.errors import EntrepotError as EntrepotError
else:
    _HOMES = {
        "AsyncClient": "entrepot.client.remote_async",
        "Client": "entrepot.client.remote",
        "EntrepotError": "entrepot.errors",
        "Progress": "entrepot.client.progress",
        "PushOptions": "entrepot.client.push",
        "Pushed": "entrepot.client.results",
    }

    def __getattr__(name):
        """The clients and what belongs to them, imported when they are first asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module 'entrepot' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)

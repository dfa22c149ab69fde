"""`entrepot serve`: run a server."""

import os
import sys
from typing import Any

import click


@click.command(short_help="run a server")
@click.option("--data", help="Data folder.")
@click.option("--db", help="PostgreSQL URL; without it SQLite in the data folder.")
@click.option("--listen", help="ADDRESS:PORT, 127.0.0.1:8080 by default; port 0 takes a free one.")
@click.option("--public-url", help="How clients reach this server, if not by the address they send.")
@click.option("--tls", type=click.Choice(["self"]), help="Make and use a certificate of our own.")
@click.option("--tls-cert", help="PEM certificate chain.")
@click.option("--tls-key", help="PEM key.")
@click.option("--insecure-http", is_flag=True, default=None, help="No TLS on an address others can reach.")
@click.option("--trusted-proxy", multiple=True, help="Network whose X-Forwarded headers count.")
@click.option("--force-network-disk", is_flag=True, default=None, help="Use a data folder on a network file system.")
@click.option("--new-admin-token", is_flag=True, default=None, help="Make another token for the admin, as at first.")
@click.option("--config", type=click.Path(), help="TOML file with any setting.")
def serve(config: str | None, **flags: Any) -> None:
    """Run a server.

    Everything has a default: without options it listens on 127.0.0.1:8080 and keeps its data in your home.
    """
    from entrepot import lifetime
    from entrepot.client.login import host_of, keep_token
    from entrepot.client.profiles import add_profile
    from entrepot.settings import load

    environ = dict(os.environ)
    settings = load(flags, environ, config)

    def tell(url: str, minted: Any) -> None:
        if minted and sys.stdout.isatty():
            print(f"entrepot on {url}  admin token (shown once): {minted.text}", flush=True)
            profile = add_profile(environ, "local", url)
            keep_token(environ, host_of(url), minted.text)
            print(f'profile "{profile}" written; in another terminal: entrepot push FILE', flush=True)
            return
        if minted:
            path = os.path.join(settings.data, "admin-token")
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(minted.text + "\n")
        print(f"entrepot on {url}" if sys.stdout.isatty() else url, flush=True)

    lifetime.run(settings, environ, tell)

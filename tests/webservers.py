"""Real web servers over a folder, started and stopped by the tests that need them."""

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.conftest import needs

_NGINX = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
events {{ }}
http {{
    include /etc/nginx/mime.types;
    default_type text/plain;
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {rules};
}}
"""
_APACHE = """\
ServerRoot {folder}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
{modules}
TypesConfig /etc/mime.types
AddEncoding x-gzip .gz
AddHandler send-as-is .cgi
<FilesMatch "[.]php">
SetHandler send-as-is
</FilesMatch>
<FilesMatch "^[.]ht">
Require all denied
</FilesMatch>
DocumentRoot "{root}"
<Directory "{root}">
AllowOverride All
Require all granted
</Directory>
"""
_MODULES = "mpm_event authn_core authz_core dir mime headers asis"


@contextmanager
def running_nginx(tree: Path, folder: Path, url: str) -> Iterator[str]:
    """Nginx with the rules that lie in the tree, which say where it listens; its URL."""
    program = needs("nginx", "nginx-light")
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, rules=tree / "nginx.conf"))
    words = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
    checked = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr
    with _running(words, url):
        yield url


@contextmanager
def running_apache(tree: Path, folder: Path, url: str) -> Iterator[str]:
    """Apache with `AllowOverride All` over the tree, and a handler that would run files; its URL."""
    program = needs("apache2", "apache2-bin")
    modules = Path(program).parents[1] / "lib/apache2/modules"
    folder.mkdir()
    lines = [f"LoadModule {name}_module {modules}/mod_{name}.so" for name in _MODULES.split()]
    config = folder / "apache.conf"
    port = urlsplit(url).port
    config.write_text(_APACHE.format(folder=folder, root=tree, port=port, modules="\n".join(lines)))
    with _running([program, "-d", str(folder), "-f", str(config), "-DFOREGROUND"], url):
        yield url


@contextmanager
def _running(words: list[str], url: str) -> Iterator[None]:
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, url)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _wait(process: "subprocess.Popen[bytes]", url: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{url}/v2/", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            assert process.poll() is None, "it did not start"
            time.sleep(0.05)
            continue
        return
    raise AssertionError("it does not answer")

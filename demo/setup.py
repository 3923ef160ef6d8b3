"""The demo's tenant, key, segments and webhook endpoint: each made once, and found again on a second run."""

from __future__ import annotations

import asyncio
import sys

from demo.client import Client
from demo.journey import COUNTRY, CURRENCY
from demo.local_time import TIME_ZONE
from demo.segments import SEGMENTS
from demo.settings import DemoError, Settings
from demo.state import State, write_private

TENANT = "demo"


async def prepare_tenant(client: Client, settings: Settings) -> None:
    """Create the tenant and a key with all scopes, unless demo.env holds a key that works; then write demo.env anew.

    It is written even when the key is old, because ports may differ from the last run's.
    """
    place = ("--timezone", TIME_ZONE, "--currency", CURRENCY, "--country", COUNTRY)
    await _admin(settings, "tenants", "create", "--tenant", TENANT, *place)
    client.key = _remembered_key(settings)
    if not client.key or (await client.api("GET", "/v1/segments")).status == 401:
        printed = await _admin(settings, "keys", "create", "--tenant", TENANT, "--scopes", "all", "--name", "demo")
        client.key = printed.splitlines()[-1].strip()
        _write_env(client.key, settings)
        await _until_known(client, settings)
    _write_env(client.key, settings)


async def prepare_segments(client: Client, settings: Settings) -> int:
    """Create the segments that do not exist yet, and say how many were created."""
    created = 0
    for segment in SEGMENTS:
        answer = await client.api("POST", "/v1/segments", body=segment.body())
        if answer.status not in (200, 201, 409):
            where = answer.body.get("pointer") or answer.body.get("errors") or ""
            raise DemoError(f"segment {segment.id!r} was refused: {answer.detail} {where}".rstrip(), settings.log("api"))
        created += answer.status != 409
    return created


async def prepare_webhook(client: Client, settings: Settings, state: State) -> None:
    """Create the one endpoint, and give its secret to the receiver, which reads it by itself.

    An endpoint is made anew when the receiver has moved to another port or has lost the secret, which is shown only once.
    """
    url = f"{settings.receiver_url}/hook"
    secret_file = settings.receiver_dir / "secret"
    if state.endpoint_url == url and secret_file.exists():
        return
    if state.endpoint_id is not None:
        await client.api("DELETE", f"/v1/webhooks/{state.endpoint_id}")
    body = {"url": url, "segments": None, "changes": ["entered", "exited"], "causes": None}
    answer = await client.api("POST", "/v1/webhooks", body=body)
    secret = answer.body.get("secret")
    if answer.status != 201 or not isinstance(secret, str):
        raise DemoError(f"the webhook endpoint was refused: {answer.detail}", settings.log("api"))
    write_private(secret_file, secret.encode() + b"\n")
    state.endpoint_id, state.endpoint_url = str(answer.body["id"]), url
    state.save(settings.state_file)


async def _admin(settings: Settings, *arguments: str) -> str:
    """Run the API's command line and give what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.api", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, complaints = await process.communicate()
    if process.returncode != 0 or (arguments[0] == "keys" and not printed.strip()):
        reason = (complaints.decode(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise DemoError(f"`{' '.join(arguments[:2])}` failed: {reason}", settings.log("api"))
    return printed.decode()


async def _until_known(client: Client, settings: Settings) -> None:
    """Wait until the running API has read the new key: keys travel through Kafka."""
    for _ in range(100):
        if (await client.api("GET", "/v1/segments")).status == 200:
            return
        await asyncio.sleep(0.1)
    raise DemoError("the API does not know the key that was just created", settings.log("api"))


def _remembered_key(settings: Settings) -> str:
    if not settings.env_file.exists():
        return ""
    pairs = (line.partition("=") for line in settings.env_file.read_text().splitlines())
    return next((value for name, _, value in pairs if name == "ROLLCALL_API_KEY"), "")


def _write_env(key: str, settings: Settings) -> None:
    pairs = {
        "ROLLCALL_API_URL": settings.api_url,
        "ROLLCALL_INGEST_URL": settings.ingest_url,
        "ROLLCALL_API_KEY": key,
        "ROLLCALL_TZ": TIME_ZONE,
        "ROLLCALL_KAFKA": settings.kafka,
    }
    content = "".join(f"{name}={value}\n" for name, value in pairs.items())
    write_private(settings.env_file, content.encode())

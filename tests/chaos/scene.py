"""The whole installation under a load, as the faults and the checks see it: three tenants, their segments, endpoints and users."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from deploy.local.broker import LocalBroker
from deploy.local.valkey import LocalValkey
from schemas.definitions import SCOPES, KeyPut, TenantPut
from schemas.instants import DAY_MS, iso
from schemas.positions import decode_position
from tests.chaos.crew import MODULES, Crew
from tests.chaos.load import Load
from tests.chaos.sight import Sight
from tests.chaos.town import SEGMENTS, TENANTS, Book
from tests.support.receiver import Receiver
from tests.support.services import PARTITIONS, Stack, now_ms, wait_for

Json = dict[str, Any]
_CANARIES: Final = 8
_LOOKS_S: Final = 0.05
_CROWD_BATCH: Final = 5_000
_LONG_AGO_MS: Final = 40 * DAY_MS
_NO_ANSWER: Final = (httpx.TransportError, httpx.InvalidURL)


class Scene:
    """What a plan acts upon. `failpoints` is the folder that the services look into."""

    def __init__(self, folder: Path, broker: LocalBroker, valkey: LocalValkey, *, seed: int, per_s: int, session_s: float) -> None:
        self.broker, self.valkey = broker, valkey
        self.stack = Stack(folder, broker.bootstrap, valkey.url)
        self.failpoints = folder / "failpoints"
        self.failpoints.mkdir()
        self.session_s = session_s
        self.dice = random.Random(seed)
        self.stack.extra = {
            "ROLLCALL_DISPATCHER_SCHEDULE_S": "0," + ",".join(["0.3", "1", "2"] + ["3"] * 40),
            "ROLLCALL_FAILPOINTS_DIR": str(self.failpoints),
            "ROLLCALL_SEGMENTER_SESSION_TIMEOUT_S": str(session_s),
            "ROLLCALL_DISPATCHER_SESSION_TIMEOUT_S": str(session_s),
        }
        self.stack.fresh("chaos-")
        self.crew = Crew(self.stack)
        self.book, self.sight = Book(), Sight()
        self.false_answers: list[str] = []
        answers = random.Random(seed)
        # One attempt in fifty fails, so that retries are always on their way.
        self.receiver = Receiver(lambda: 500 if answers.random() < 0.02 else 204)
        self.http = httpx.Client(timeout=6)
        self.keys: dict[str, str] = {}
        self._posted = 0
        self._stopping = threading.Event()
        self._per_s, self._seed = per_s, seed
        self.load: Load

    # ---- beginning and end

    def open(self, crowd: int) -> None:
        """Start everybody, define everything, have so many customers settle, and begin the load."""
        self.crew.start(*MODULES)
        wait_for(self.crew.ready, what="every process to be ready")
        for tenant in TENANTS:
            self._found(tenant)
        self.load = Load(
            self.url("ingest"), self.broker.bootstrap, self.stack.topics, self.keys, self.book, self.sight, per_s=self._per_s, seed=self._seed
        )
        for tenant in TENANTS:
            self.until_shown(tenant["id"], [f"canary-{tenant['id']}-{number}" for number in range(_CANARIES)])
        self._settle(crowd)
        for task in (self._app, self._clerk, self._registrar):
            threading.Thread(target=task, daemon=True, name=task.__name__).start()
        self.load.start()

    def close(self) -> None:
        """End everything that was started."""
        self._stopping.set()
        if hasattr(self, "load"):
            self.load.stop()
        self.crew.close()
        self.stack.stop_services()
        self.receiver.close()

    def _found(self, tenant: Json) -> None:
        name, key = tenant["id"], f"rk_{tenant['id']}_{self._seed:032}"
        self.keys[name] = key
        self.stack.write(
            [
                TenantPut(tenant=name, at_ms=now_ms(), timezone=tenant["timezone"], currency=tenant["currency"], country=tenant["country"]),
                KeyPut(tenant=name, at_ms=now_ms(), key_id=name, name=name, scopes=list(SCOPES), sha256=hashlib.sha256(key.encode()).hexdigest()),
            ]
        )
        causes = ["event", "clock", "definition", "profile", "manual", "correction", "rank", "merge", "erase"]
        endpoint = self.must(name, "POST", "/v1/webhooks", {"url": self.receiver.url(name), "causes": causes})
        self.receiver.secrets[name] = endpoint["secret"]
        for segment in SEGMENTS:
            self.must(name, "POST", "/v1/segments", {"name": segment["id"], **segment})

    def _settle(self, crowd: int) -> None:
        """Have customers of the first tenant do one thing each, long before the load; most of what a restart must read back."""
        tenant, at = TENANTS[0]["id"], iso(now_ms() - _LONG_AGO_MS)
        for start in range(0, crowd, _CROWD_BATCH):
            documents = [
                {"type": "checkout", "event_id": "settled", "customer_id": f"s{number}", "occurred_at": at, "total": "1.50"}
                for number in range(start, min(crowd, start + _CROWD_BATCH))
            ]
            position = self.must(tenant, "POST", "/v1/events", documents, service="ingest")["position"]
            self.load.accepted(tenant, documents, decode_position(position, partitions=PARTITIONS), "settled")
        self.must(tenant, "GET", "/v1/segments/buyers/count", after=self.load.position(tenant))
        self.book.take_touched()

    # ---- talking

    def url(self, service: str) -> str:
        """Return the address of a service."""
        return f"http://127.0.0.1:{self.stack.ports[service]}"

    def now_ms(self) -> int:
        """What the services take for now."""
        return now_ms() + self.load.ahead_ms

    def ask(self, tenant: str, method: str, path: str, body: Any = None, *, service: str = "api", **params: str) -> httpx.Response | None:
        """Make one request with a tenant's key; None when nobody answers."""
        try:
            return self.http.request(
                method, self.url(service) + path, json=body, params=params, headers={"Authorization": f"Bearer {self.keys[tenant]}"}
            )
        except _NO_ANSWER:
            return None

    def must(self, tenant: str, method: str, path: str, body: Any = None, *, service: str = "api", **params: str) -> Any:
        """Ask until the answer is 2xx, for two minutes at most, and return it."""
        answers: list[httpx.Response] = []

        def answered() -> bool:
            response = self.ask(tenant, method, path, body, service=service, **params)
            if response is not None:
                answers.append(response)
            return response is not None and response.is_success

        try:
            wait_for(answered, what=f"{method} {path}", timeout_s=120)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the last answer: {answers[-1].text if answers else 'none'}") from None
        return answers[-1].json()

    def until_shown(self, tenant: str, customers: list[str]) -> float:
        """Post a first checkout of some customers, wait until each is shown as a buyer, and return that instant of the monotonic clock."""
        self._posted += 1
        at = iso(now_ms() + (self.load.ahead_ms if hasattr(self, "load") else 0))
        documents = [
            {"type": "checkout", "event_id": f"shown-{self._posted}", "customer_id": customer, "occurred_at": at, "total": "1.50"}
            for customer in customers
        ]
        position = self.must(tenant, "POST", "/v1/events", documents, service="ingest")["position"]
        self.load.accepted(tenant, documents, decode_position(position, partitions=PARTITIONS), "http")
        for customer in customers:
            found = self.must(tenant, "GET", f"/v1/customers/{customer}/segments/buyers", after=position)
            assert found["member"], f"{customer} of {tenant} has bought and is no buyer, as of {found['as_of']}"
        return time.monotonic()

    # ---- users, in threads of their own

    def _app(self) -> None:
        """Ask all the time for customers who are members for ever, and with other tenants' keys for the same."""
        with httpx.Client(timeout=3) as client:
            draw = random.Random(1)
            while not self._stopping.wait(_LOOKS_S):
                mine, other = draw.sample([tenant["id"] for tenant in TENANTS], 2)
                customer = f"canary-{mine}-{draw.randrange(_CANARIES)}"
                self._look(client, "apps", mine, customer, lambda status, body: status == 200 and body["member"])
                self._look(client, "strangers", other, customer, lambda status, _: status == 404)

    def _look(self, client: httpx.Client, who: str, tenant: str, customer: str, right: Callable[[int, Any], bool]) -> None:
        path = f"/v1/customers/{customer}/segments/buyers"
        try:
            response = client.get(self.url("api") + path, headers={"Authorization": f"Bearer {self.keys[tenant]}"})
        except httpx.TimeoutException:
            self.sight.saw(who, "timeout")
            return
        except _NO_ANSWER:
            self.sight.saw(who, "no connection")
            return
        self.sight.saw(who, response.status_code)
        if response.status_code < 500 and not right(response.status_code, response.json()):
            self.false_answers.append(f"{tenant} asked for {customer}: {response.status_code} {response.text}")

    def _clerk(self) -> None:
        """Put somebody on a manual list twice a second, again and again until it is answered."""
        number = 0
        while not self._stopping.wait(0.5):
            if not self.load.going:
                continue
            tenant, customer = TENANTS[number % len(TENANTS)]["id"], f"c{300 + number // 2}"
            response = self.ask(tenant, "POST", "/v1/segments/chosen/include", {"add": [customer], "remove": []})
            self.sight.saw("clerks", "no connection" if response is None else response.status_code)
            if response is not None and response.status_code == 202:
                offsets = decode_position(response.json()["position"], partitions=PARTITIONS)
                self.load.accepted(tenant, [], offsets, "by hand")
                self.book.choose(tenant, customer)
                number += 1

    def _registrar(self) -> None:
        """Have one person after the other buy, turn out to be another one, and be forgotten; every third begins anew.

        What of theirs counts depends on what was heard before an erasure and what after, so each step waits for the one before.
        """
        number = 0
        while not self._stopping.wait(0.3):
            number += 1
            tenant, old, name = TENANTS[number % len(TENANTS)]["id"], f"leaving-{number}", f"left-{number}"
            self._tell(tenant, self._bought(old, 1), self._bought(name, 2))
            merge = {"type": "customer-merge", "event_id": "merge", "customer_id": old, "into": name, "occurred_at": iso(self.now_ms())}
            self._until(tenant, old, self._tell(tenant, merge), 200)
            self._tell(tenant, self._bought(old, 3))
            erased_ms = self.now_ms()
            erase = {"type": "customer-erase", "event_id": "erase", "customer_id": (old, name)[number % 2], "occurred_at": iso(erased_ms)}
            self._until(tenant, name, self._tell(tenant, erase), 404)
            self._tell(tenant, self._bought(old, 4, erased_ms), self._bought(name, 5, erased_ms))
            if number % 3 == 0:
                self._tell(tenant, self._bought(old, 6))

    def _bought(self, customer: str, number: int, at_ms: int = 0) -> Json:
        """A checkout that makes its customer one of the foremost."""
        at = iso(at_ms or self.now_ms())
        return {"type": "checkout", "event_id": f"bought-{number}", "customer_id": customer, "occurred_at": at, "total": "9000.00"}

    def _tell(self, tenant: str, *documents: Json) -> str:
        """Post again and again, while the load goes on, until all is accepted; return the position."""
        while not self._stopping.is_set():
            with self.load.under_way():
                response = self.ask(tenant, "POST", "/v1/events", documents, service="ingest") if self.load.going else None
                if response is not None and response.status_code == 202 and not response.json()["rejected"]:
                    position: str = response.json()["position"]
                    self.load.accepted(tenant, list(documents), decode_position(position, partitions=PARTITIONS), "people")
                    return position
            self._stopping.wait(0.1)
        return ""

    def _until(self, tenant: str, customer: str, position: str, status: int) -> None:
        """Ask for somebody until the answer, with what was accepted in it, is what it has to be."""
        while not self._stopping.is_set():
            response = self.ask(tenant, "GET", f"/v1/customers/{customer}/segments", after=position)
            if response is not None and response.status_code == status:
                return
            self._stopping.wait(0.1)


@contextmanager
def scene(folder: Path, *, seed: int, per_s: int, session_s: float, crowd: int = 0, root: Path | None = None) -> Iterator[Scene]:
    """Give a scene with servers of its own, and everything down afterwards. `root`: where the services' sources are, if not here."""
    with LocalBroker(folder / "kafka") as broker, LocalValkey(folder / "valkey") as valkey:
        found = Scene(folder, broker, valkey, seed=seed, per_s=per_s, session_s=session_s)
        found.stack.root = root
        try:
            found.open(crowd)
            yield found
        finally:
            found.close()


def seconds_until(holds: Callable[[], bool], *, what: str, since_s: float, timeout_s: float = 90.0) -> float:
    """Wait until something holds, and return the seconds since an instant of the monotonic clock."""
    wait_for(holds, what=what, timeout_s=timeout_s)
    return time.monotonic() - since_s

"""Where the demo finds the services, and where it keeps what it must remember: read from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class DemoError(Exception):
    """The demo cannot go on; the message is one line for a person, `log` the file in which to read more."""

    def __init__(self, reason: str, log: Path | None = None) -> None:
        super().__init__(reason)
        self.log = log


class Settings(BaseSettings):
    """The demo's settings; every one is `ROLLCALL_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="ROLLCALL_", extra="ignore")

    kafka: str = Field(default="127.0.0.1:9092", description="Bootstrap servers, written into demo.env for those who produce straight to Kafka.")
    api_host: str = Field(default="127.0.0.1", description="Host of services/api.")
    api_port: int = Field(default=8080, description="Port of services/api.")
    ingest_host: str = Field(default="127.0.0.1", description="Host of services/ingest.")
    ingest_port: int = Field(default=8081, description="Port of services/ingest.")
    segmenter_host: str = Field(default="127.0.0.1", description="Host of the segmenters' small servers, which tell the outcomes.")
    segmenter_port: int = Field(default=8082, description="Port of that server.")
    segmenter_2_port: int = Field(default=0, description="Port of the second segmenter's; 0 where there is one alone.")
    partitions: int = Field(default=6, description="Into how many partitions the customers are divided.")
    receiver_host: str = Field(default="127.0.0.1", description="Host of the demo's webhook receiver.")
    receiver_port: int = Field(default=8090, description="Port of the demo's webhook receiver.")
    receiver_dir: Path = Field(default=Path(".rollcall/receiver"), description="Where the receiver keeps its secret and its deliveries.")
    data_dir: Path = Field(default=Path(".rollcall/data"), description="Where demo.json is kept; demo.env and log/ lie one folder above.")

    @property
    def api_url(self) -> str:
        """Base address of the API."""
        return f"http://{self.api_host}:{self.api_port}"

    @property
    def ingest_url(self) -> str:
        """Base address of ingest."""
        return f"http://{self.ingest_host}:{self.ingest_port}"

    @property
    def outcomes_urls(self) -> list[str]:
        """Where the segmenters tell what became of the records of their partitions."""
        ports = [port for port in (self.segmenter_port, self.segmenter_2_port) if port]
        return [f"http://{self.segmenter_host}:{port}/outcomes" for port in ports]

    @property
    def receiver_url(self) -> str:
        """Base address of the webhook receiver."""
        return f"http://{self.receiver_host}:{self.receiver_port}"

    @property
    def state_file(self) -> Path:
        """What the demo remembers between runs."""
        return self.data_dir / "demo.json"

    @property
    def env_file(self) -> Path:
        """The key and the addresses, ready to `source`."""
        return self.data_dir.parent / "demo.env"

    @property
    def log_dir(self) -> Path:
        """Where the processes log."""
        return self.data_dir.parent / "log"

    def log(self, process: str) -> Path:
        """Give the log file of a process."""
        return self.log_dir / f"{process}.log"

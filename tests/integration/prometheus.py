"""A Prometheus and an Alertmanager with the project's own files, scraping each second, and what they say."""

import json
import math
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import yaml

from deploy.prometheus import __main__ as rules
from deploy.setup import servers

ROOT = Path(__file__).parents[2]
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FASTER = 60


def faster(document):
    """The rules with every window and every `for` an `FASTER`th of what it is, and evaluated each second."""

    def shorter(match):
        return f"{max(int(match[1]) * UNITS[match[2]] // FASTER, 1)}s"

    for group in document["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"(?<=[\[: ])(\d+)([smhd])(?=[\]:)\n ]|$)", shorter, rule["expr"])
            for key in {"for", "keep_firing_for"} & rule.keys():
                rule[key] = re.sub(r"(\d+)([smhd])", shorter, rule[key])
    return document


class Receiver:
    """Notes what Alertmanager sends: the receiver's name, the status, and the alert."""

    def __init__(self):
        self.heard = heard = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                heard.extend((self.path[1:], each["status"], each) for each in body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, alert, status):
        return [each for each in list(self.heard) if each[1] == status and each[2]["labels"]["alertname"] == alert]


class Watch:
    """Prometheus and Alertmanager, as processes of this test.

    Parameters:
      targets: of each scrape job of the shipped file.
      ports: of Prometheus and of Alertmanager.
      thresholds: of the rules.
    """

    def __init__(self, folder, targets, ports, receiver, thresholds):
        self.thresholds = thresholds
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.alertmanager = f"http://127.0.0.1:{ports[1]}"
        self.processes = []
        self._alertmanager(folder, ports[1], receiver.port)
        self._prometheus(folder, targets, ports)

    def _prometheus(self, folder, targets, ports):
        shipped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
        shipped["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        shipped["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{ports[1]}"]
        for job in shipped["scrape_configs"]:
            job["static_configs"] = [{"targets": targets.get(job["job_name"], [])}]
            job.get("params", {}).pop("vhost", None)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(shipped))
        (folder / "dutiful.rules.yml").write_text(yaml.safe_dump(faster(rules.document(self.thresholds))))
        command = [str(servers.PROMETHEUS.find()), f"--config.file={folder}/prometheus.yml"]
        command += [f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{ports[0]}"]
        self._start(folder, [*command, "--enable-feature=expand-external-labels"], "prometheus")

    def _alertmanager(self, folder, port, webhook):
        shipped = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
        for receiver in shipped["receivers"]:
            receiver["webhook_configs"] = [{"url": f"http://127.0.0.1:{webhook}/{receiver['name']}"}]
        text = re.sub(r"group_(wait|interval): \w+", r"group_\1: 1s", yaml.safe_dump(shipped))
        (folder / "alertmanager.yml").write_text(text)
        command = [str(servers.ALERTMANAGER.find()), f"--config.file={folder}/alertmanager.yml"]
        command += [f"--storage.path={folder}/alertmanager", f"--web.listen-address=127.0.0.1:{port}"]
        self._start(folder, [*command, "--cluster.listen-address="], "alertmanager")

    def _start(self, folder, command, name):
        with (folder / f"{name}.log").open("wb") as log:
            environment = {"DUTIFUL_ENVIRONMENT": "production", "HOME": str(folder)}
            self.processes.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log))

    def ask(self, path, **parameters):
        """What the API answers; None while it doesn't."""
        try:
            answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=5)
        except httpx.TransportError:
            return None
        document = answer.json()
        assert document["status"] == "success", document
        return document["data"]

    def query(self, expr):
        """Each series that has a real number now: its labels and the number."""
        found = (self.ask("query", query=expr) or {"result": []})["result"]
        pairs = [(each["metric"], float(each["value"][1])) for each in found]
        return [(labels, number) for labels, number in pairs if math.isfinite(number)]

    def suppressed(self, alert):
        """Whether Alertmanager holds an alert back because of another."""
        held = httpx.get(f"{self.alertmanager}/api/v2/alerts", timeout=5).json()
        return any(each["labels"]["alertname"] == alert and each["status"]["inhibitedBy"] for each in held)

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()

"""A FastAPI handler as people write it beside stock Dramatiq: it publishes with a confirm, and answers."""

from fastapi import FastAPI

from bench.sites.stock import empty

app = FastAPI()


@app.post("/v1/jobs/empty", status_code=202)
def send() -> dict[str, str]:
    """Publish, on one of the framework's threads."""
    return {"id": empty.send().message_id}

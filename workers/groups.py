"""Groups say when a number of jobs have all succeeded, and send what is to follow, once.

`dramatiq.group` is for members that are all known at the beginning. An `OpenGroup` is for a job that finds them out
little by little: each is sent in a commit of that job's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dramatiq import Message
from sqlalchemy import Connection

from workers.current import current_job
from workers.errors import ConfigurationError, ContractError
from workers.job import Job
from workers.store import groups
from workers.store.outbox import Outgoing
from workers.traces import stamp

# Dramatiq's own words for it: its groups write them into each member.
GROUP_OPTION = "group_completion_uuid"
CALLBACKS_OPTION = "group_completion_callbacks"


class OpenGroup:
    """A group that gets members until it is closed. All it does is part of the job's `transaction()` that is open.

    Parameters:
      name: the same in every attempt, and no other group's.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def open(self, *callbacks: Message[Any]) -> None:
        """Begin; `callbacks` are sent when it is closed and all members have succeeded. Opening again does nothing.

        Raises:
          ConfigurationError: no transaction is open.
        """
        _, connection = _inside()
        groups.create(connection, self.name, 0, [outgoing(each) for each in callbacks], open=True)

    def send(self, message: Message[Any], *, delay: int | None = None) -> None:
        """Send a member with the commit.

        Parameters:
          message: the member.
          delay: milliseconds.

        Raises:
          ConfigurationError: no transaction is open.
          StoreError: the group is not open.
        """
        job, connection = _inside()
        groups.expect(connection, self.name)
        stamp(message)
        job.collect(message.copy(options={GROUP_OPTION: self.name}), delay)

    def close(self) -> None:
        """No more members come. Closing again does nothing.

        Raises:
          ConfigurationError: no transaction is open.
        """
        job, connection = _inside()
        for each in groups.close(connection, self.name):
            job.collect(Message.decode(each.body), each.delay_ms)


def outgoing(message: Message[Any], delay: int | None = None) -> Outgoing:
    """A message as the store keeps it."""
    stamp(message)
    return Outgoing(message.message_id, message.encode(), delay)


def message_in(data: Any, where: str) -> Message[Any]:
    """The message that lies in another one's options, as Dramatiq's pipelines and groups put it there.

    Raises:
      ContractError: it is none.
    """
    try:
        message: Message[Any] = Message(**data)
        message = message._replace(args=tuple(message.args), options=dict(message.options))
    except (TypeError, ValueError) as error:
        problem = str(error)
    else:
        kinds = type(message.queue_name), type(message.actor_name), type(message.message_id), type(message.kwargs)
        if kinds == (str, str, str, dict):
            return message
        problem = f"queue, actor, id and kwargs are {', '.join(each.__name__ for each in kinds)}"
    raise ContractError(f"the message in {where} can't be read", expected="a message of Dramatiq's", received=problem)


def join_group(job: Job, options: Mapping[str, Any]) -> None:
    """Tell the job which group it belongs to, as its message says.

    Raises:
      ContractError: the message says it in a way that can't be read.
    """
    group, callbacks = options.get(GROUP_OPTION), options.get(CALLBACKS_OPTION) or ()
    if group is None:
        return
    if not isinstance(group, str) or not isinstance(callbacks, Sequence):
        raise ContractError("the group can't be read", expected="a name, and messages", received=repr(type(group)))
    job.belongs_to(group, [outgoing(message_in(each, CALLBACKS_OPTION)) for each in callbacks])


def _inside() -> tuple[Job, Connection]:
    job = current_job()
    if job.connection is None:
        raise ConfigurationError(
            "a group can't change here", expected="a call inside current_job().transaction()", received="one outside"
        )
    return job, job.connection

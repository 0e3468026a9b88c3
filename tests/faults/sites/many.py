"""The jobs of `shop`, and twenty more queues."""

from shop import CARD, actor, write


def declare(number: int) -> None:
    @actor(**CARD | {"queue_name": f"shelf.{number}"}, actor_name=f"shelf.{number}")
    def take() -> None:
        write(f"shelf {number}")


for number in range(20):
    declare(number)

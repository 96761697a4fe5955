"""Step: look for a user everywhere."""

from pipelines.contracts import Remainder, UserSearch
from pipelines.errors import ForgettingError
from pipelines.forgetting.needle import Needle
from pipelines.forgetting.search import Stores, places, remainders
from pipelines.stores.forgotten import ForgottenUsers


def find_user(user_id: str, *, stores: Stores, forgotten: ForgottenUsers) -> UserSearch:
    """Return where a user is: in columns, in bytes, and in the stores' own structures; nothing is changed.

    Args:
        user_id: whom to look for.
        stores: where.
        forgotten: the list of those who must not be anywhere.
    """
    needle = Needle(user_id)
    looked = [(place, place.count()) for place in places(stores, needle)]
    named = remainders(stores, needle)
    found = [Remainder(place=place.name, num=num) for place, num in looked if num]
    return UserSearch(
        dataset=stores.dataset,
        suppressed=forgotten.has(stores.dataset, user_id),
        num_places=len(looked),
        found=(*found, *(remainder for remainder in named if not remainder.remedy)),
        remains=tuple(remainder for remainder in named if remainder.remedy),
    )


def require_forgotten(search: UserSearch) -> UserSearch:
    """Return a search that found the user forgotten.

    Raises:
        ForgettingError: the user is not on the list, or still in a place that forgetting clears.
    """
    if search.suppressed and not search.found:
        return search
    where = (
        ", ".join(f"{found.place} ({found.num})" for found in search.found) or "no place, but not on the list either"
    )
    raise ForgettingError(
        f"the user is found in {where}; expected nowhere in {search.dataset}. Run `tandem forget-user` for this user, "
        "when nothing else runs on the data set"
    )

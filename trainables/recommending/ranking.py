"""How high a recommender ranks the item that a user took next, among all that the user had not; knows no models."""

import torch

AT = 10


def ranks(scores: torch.Tensor, wanted: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """How many items that were not seen stand before or beside the wanted one, `[n]`: 0 where it is the first.

    Items of the same score stand before it: who tells none apart ranks none well.

    Args:
        scores: of all items, `[n, items]`.
        wanted: `[n]`.
        seen: items that are out of question, `[n, most]`, filled up with -1.
    """
    own = scores.gather(1, wanted[:, None])
    is_before = scores >= own
    rows = torch.arange(len(seen), device=seen.device)[:, None].expand_as(seen)
    is_item = seen >= 0
    is_before[rows[is_item], seen[is_item]] = False
    return is_before.sum(dim=1) - 1


def ranking_metrics(prefix: str, found: torch.Tensor) -> dict[str, float]:
    """HR@10 and NDCG@10 of one wanted item for each user, from its ranks `[n]`."""
    hit = found < AT
    gain = torch.where(hit, 1 / torch.log2(found + 2.0), 0.0)
    return {f"{prefix}_hr{AT}": float(hit.float().mean()), f"{prefix}_ndcg{AT}": float(gain.mean())}

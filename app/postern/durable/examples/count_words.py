"""A `def` workflow: all of it is one step, which runs again from its beginning after a crash."""

from collections import Counter

from postern import Context, tenant_users, workflow


@workflow(access=tenant_users(), durable=True)
def count_words(ctx: Context, text: str) -> dict[str, int]:
    """Count the words of a long text."""
    return Counter(text.lower().split())

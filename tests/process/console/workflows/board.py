"""A page whose script tries what the person who opens it may do in the console."""

from postern import Context, Reply, anonymous, workflow

PAGE = """<!doctype html>
<html lang="en"><title>Board</title>
<form method="post" action="/console/sign-out"></form>
<script>
const tried = {};
const attempt = async (name, act) => {
  try { tried[name] = String(await act()); } catch (error) { tried[name] = "refused"; }
};
(async () => {
  await attempt("read", async () => (await fetch("/console/runs")).status);
  await attempt("post", async () => (await fetch("/console/sign-out", { method: "POST" })).status);
  await attempt("cookies", () => document.cookie);
  await attempt("storage", () => localStorage.length);
  document.title = JSON.stringify(tried);
})();
</script>
"""


@workflow(access=anonymous(), methods=["GET", "POST"])
async def board(ctx: Context) -> Reply:
    """Answer HTML with a script."""
    return Reply(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})

"""What is a tool says so where workflows are described."""

from postern import Context, workflow
from postern.openapi.docs_page import page
from postern.openapi.document import openapi_document
from tests.mcp.tools import triggers_of
from tests.openapi.catalogs import HERE


@workflow(tool=True, methods=["GET", "POST"])
async def report(ctx: Context) -> None:
    """Report."""


@workflow
async def secret(ctx: Context) -> None:
    """Keep it."""


def test_the_document_and_its_page_name_the_tool_of_each_operation():
    document = openapi_document(triggers_of(report, secret), HERE)
    paths = document["paths"]
    assert {method: each["x-postern-tool"] for method, each in paths["/triggers/report"].items()} == {
        "get": "get-report",
        "post": "post-report",
    }
    assert "x-postern-tool" not in paths["/triggers/secret"]["post"]
    text = page(document)
    assert text.count("It is offered to agents as the tool") == 2
    assert "It is offered to agents as the tool <code>post-report</code>." in text

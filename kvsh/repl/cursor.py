"""Terminals that do not tell where their cursor is: they are asked once, and neither waited for nor complained of.

prompt-toolkit asks each terminal (ESC[6n) and needs the answer for the toolbar and the menu alone. It waits a second
for it after each line and then writes a warning among the results.
"""

from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.renderer import CPR_Support

ANSWER_S = 0.15  # once, after the first line; an answer that comes later is taken all the same


def tolerate_silence(app: Application[Any]) -> None:
    """Let an application do without the answer."""
    renderer = app.renderer
    wait = renderer.wait_for_cpr_responses
    renderer.cpr_not_supported_callback = None

    async def wait_shortly(seconds: float = 1) -> None:
        is_unknown = renderer.cpr_support is CPR_Support.UNKNOWN
        await wait(ANSWER_S if is_unknown else seconds)  # type: ignore[arg-type]  # any number of seconds will do
        if is_unknown and renderer.cpr_support is CPR_Support.UNKNOWN:
            renderer.cpr_support = CPR_Support.NOT_SUPPORTED

    renderer.wait_for_cpr_responses = wait_shortly  # type: ignore[method-assign, assignment]  # the class is not ours to choose

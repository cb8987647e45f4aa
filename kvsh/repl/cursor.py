"""Terminals that do not report their cursor: they are asked once, without a long wait or a warning.

prompt-toolkit asks every terminal (ESC[6n), and needs the answer only for the toolbar and the menu. It waits a second
for the answer after each line, and then writes a warning among the results.
"""

from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.renderer import CPR_Support

ANSWER_S = 0.15  # once, after the first line; a later answer is still accepted


def tolerate_silence(app: Application[Any]) -> None:
    """Let an application work without the answer."""
    renderer = app.renderer
    wait = renderer.wait_for_cpr_responses
    renderer.cpr_not_supported_callback = None

    async def wait_shortly(seconds: float = 1) -> None:
        is_unknown = renderer.cpr_support is CPR_Support.UNKNOWN
        await wait(ANSWER_S if is_unknown else seconds)  # type: ignore[arg-type]  # any number of seconds works
        if is_unknown and renderer.cpr_support is CPR_Support.UNKNOWN:
            renderer.cpr_support = CPR_Support.NOT_SUPPORTED

    renderer.wait_for_cpr_responses = wait_shortly  # type: ignore[method-assign, assignment]  # prompt-toolkit chooses the class

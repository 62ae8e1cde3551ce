"""`run.plot`: every picture of a run as a Plotly figure, and as a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from downslope import curves, flow, look, noise, page, picture, prediction, relief, signals
from downslope.account import Account
from downslope.errors import InvalidValueError
from downslope.landscape import Line, Plane
from downslope.page import Section

if TYPE_CHECKING:
    import plotly.graph_objects as go


class Plots:
    """The pictures of a run.

    Each method gives a Plotly figure. With a path it also writes it there: .html as a page of its
    own, that can be zoomed; .png, .svg or .pdf drawn by Matplotlib, without a browser.

    Parameters
    ----------
    account
        Of the run.
    """

    def __init__(self, account: Account) -> None:
        self.account = account

    def _give(self, section: Section, path: str | Path | None) -> go.Figure:
        """Turn a section into a figure, and write it."""
        if section.content is None:
            raise InvalidValueError(f"{section.heading}: there is no picture. {section.sentence}")
        if path is not None:
            write(section, path)
        return to_plotly(section.content)

    def loss(self, path: str | Path | None = None) -> go.Figure:
        """Draw the training and the held-out loss by epoch."""
        return self._give(curves.loss([self.account]), path)

    def score(self, path: str | Path | None = None) -> go.Figure:
        """Draw the held-out score by epoch, with the trivial predictor's."""
        return self._give(curves.score([self.account]), path)

    def learning_rate(self, path: str | Path | None = None) -> go.Figure:
        """Draw the learning rate in force."""
        return self._give(curves.learning_rate([self.account]), path)

    def gradient_norm(self, path: str | Path | None = None) -> go.Figure:
        """Draw the norm of the gradient before and after clipping."""
        return self._give(curves.gradient_norm([self.account]), path)

    def noise(self, path: str | Path | None = None) -> go.Figure:
        """Draw the simple noise scale against the batch that was used."""
        return self._give(noise.noise([self.account]), path)

    def gradient_flow(self, path: str | Path | None = None) -> go.Figure:
        """Draw the size of dL/dW by step and layer, and what makes it shrink or grow."""
        return self._give(flow.gradient_flow(self.account), path)

    def activations(self, path: str | Path | None = None) -> go.Figure:
        """Draw mean and spread of each layer's output."""
        return self._give(signals.activations(self.account), path)

    def dead(self, path: str | Path | None = None) -> go.Figure:
        """Draw the share of units that give 0 for every row of the batch."""
        return self._give(signals.dead(self.account), path)

    def flat(self, path: str | Path | None = None) -> go.Figure:
        """Draw the share of values in the flat zone of the activation."""
        return self._give(signals.flat(self.account), path)

    def z(self, path: str | Path | None = None) -> go.Figure:
        """Draw the distribution of z by layer, with a slider over the steps."""
        return self._give(signals.z(self.account), path)

    def gradients(self, path: str | Path | None = None) -> go.Figure:
        """Draw the distribution of |dL/dw| by layer, with a slider over the steps."""
        return self._give(signals.gradients(self.account), path)

    def updates(self, path: str | Path | None = None) -> go.Figure:
        """Draw the size of each layer's update relative to its weights."""
        return self._give(flow.updates(self.account), path)

    def boundary(self, path: str | Path | None = None) -> go.Figure:
        """Draw what a network of two inputs says over their plane, with a slider over epochs."""
        return self._give(prediction.boundary(self.account), path)

    def confusion(self, path: str | Path | None = None) -> go.Figure:
        """Draw how many rows of each class were taken for which."""
        return self._give(prediction.confusion(self.account), path)

    def residuals(self, path: str | Path | None = None) -> go.Figure:
        """Draw target minus prediction against the prediction."""
        return self._give(prediction.residuals(self.account), path)

    def landscape(self, plane: Plane, path: str | Path | None = None) -> go.Figure:
        """Draw the contours of `Run.landscape`, with the way the descent took if it has one."""
        return self._give(relief.contours(plane), path)

    def surface(self, plane: Plane, path: str | Path | None = None) -> go.Figure:
        """Draw `Run.landscape` as a surface in space; as a file .html only."""
        return self._give(relief.surface(plane), path)

    def line(self, line: Line, path: str | Path | None = None) -> go.Figure:
        """Draw the loss along `Run.line_to` another run."""
        return self._give(relief.along_line(line), path)


def to_plotly(content: Mapping[str, Any]) -> go.Figure:
    """Turn a figure of plain data into Plotly's, in our look."""
    import plotly.graph_objects as go

    layout = {**content["layout"], "template": look.template()}
    return go.Figure(data=content["data"], layout=layout, frames=content.get("frames"))


def write(section: Section, path: str | Path) -> Path:
    """Write a section's figure to a file, by its ending (see `Plots`); give its path."""
    if Path(path).suffix.lower() == ".html":
        return page.write(path, section.heading, [section])
    return picture.save(section.content, path)

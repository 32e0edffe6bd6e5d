"""The artifact: a small, frozen, self-describing subspace on disk.

    my-subspace/
      das_config.json             what is silently wrong when wrong: sites, positions, model, factors, training
      interventions.safetensors   the tensors, fp32
      README.md                   a card for people
      controls/NAME/              optional: subspaces trained as controls, in the same format

Loading runs no code: parts are named by classes that ship with das (or that this process registered), tensors come from
safetensors, and both files are checked against the hashes recorded at save. The hashes lie beside what they hash: they
tell an accident from the original, and are no signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

from torch import Tensor, nn

import das
from das.artifacts import storage
from das.artifacts.describe import describe_interventions, describe_sites, plain, rebuild, tensors_of
from das.artifacts.model_card import ModelCard
from das.errors import ArtifactError, DasError
from das.factors import Factors
from das.featurizers.base import Spanning
from das.interventions.sets import InterventionSet
from das.models.families import ModelView
from das.types import Site, SpanFinder

#: Largest violation of a featurizer's invariants, e.g. max |R^T R - I|, an artifact may have.
TOLERANCE = 1e-4


@final
@dataclass(frozen=True, repr=False)
class Subspace:
    """Trained interventions with all one needs to know to use them.

    Attributes:
        interventions: the frozen interventions and their placements.
        model: the model they belong to.
        factors: per placement, the concept's mean coordinates, or None where the task has no two-valued concept.
        finder: how to find the trained span in raw text.
        task: the task's name.
        training: objective, steps, seed, command, versions, ... (plain data).
        metrics: what was measured after training (plain data).
        controls: subspaces trained as controls, by name.
    """

    interventions: InterventionSet
    model: ModelCard
    factors: tuple[Factors | None, ...]
    finder: SpanFinder | None = None
    task: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    controls: Mapping[str, Subspace] = field(default_factory=dict)

    def __repr__(self) -> str:
        first, rest = self.interventions[0], len(self.interventions) - 1
        more = f" and {rest} more" if rest else ""
        told = {k: v for k, v in self.metrics.items() if k == "iia_changed" and isinstance(v, float)}
        score = "".join(f", {k} {v:.3f}" for k, v in told.items())
        return f"Subspace({first.name} of rank {first.rank} at {self.site}{more} in {self.model.name_or_path}{score})"

    @property
    def site(self) -> Site:
        """The first placement's written site."""
        return self.interventions.placements[0].write

    def basis(self, i: int = 0) -> Tensor:
        """The orthonormal basis (width, rank) of placement `i`."""
        featurizer = self.interventions[i].featurizer
        if not isinstance(featurizer, Spanning):
            raise ArtifactError("this intervention has no basis", got=self.interventions[i].name)
        return featurizer.basis.detach()

    def check(self, model: nn.Module) -> None:
        """Raise `ArtifactError` if this subspace was not learned in `model`."""
        here = ModelCard.of(model)
        for what in ("class_name", "width", "n_layers", "fingerprint"):
            mine, other = getattr(self.model, what), getattr(here, what)
            if mine != other:
                alike = (self.model.width, self.model.n_layers) == (here.width, here.n_layers)
                more = ", or pass allow_model_mismatch=True if you know what you do" if alike else ""
                raise ArtifactError(
                    f"this subspace belongs to another model: its {what} differs",
                    got=f"{other!r} ({here.name_or_path}), learned in {mine!r} ({self.model.name_or_path})",
                    remedy=f"load the model it names{more}",
                )

    def check_sites(self, model: nn.Module) -> None:
        """Raise `ArtifactError` where a site of `model` has another width, `SiteError` where there is no such site."""
        view = ModelView(model)
        for placement, intervention in zip(self.interventions.placements, self.interventions, strict=True):
            width = view.bind(placement.write).width
            if width != intervention.width:
                raise ArtifactError(
                    "this subspace does not fit the model: the site has another width",
                    got=f"{width} at {placement.write}, learned in {intervention.width}",
                    remedy="load the model it names",
                )

    def save(self, directory: str | Path, *, overwrite: bool = False) -> Path:
        """Write the artifact; refuses a folder that holds anything unless `overwrite`."""
        path = Path(directory)
        storage.replace_folder(path, overwrite, self._write)
        return path

    def _write(self, path: Path) -> str:
        hashes = {name: control._write(path / "controls" / name) for name, control in sorted(self.controls.items())}
        return storage.write(
            path, {**self.describe(), "controls": hashes}, tensors_of(self.interventions, self.factors)
        )

    def describe(self) -> dict[str, Any]:
        """The artifact's configuration as plain data, controls apart."""
        return {
            "library_name": "das",
            "das_version": das.__version__,
            "base_model": asdict(self.model),
            "sites": describe_sites(self.interventions, self.factors),
            "interventions": describe_interventions(self.interventions),
            "task": self.task,
            "span_finder": None if self.finder is None else self.finder.to_json(),
            "training": plain(self.training),
            "metrics": plain(self.metrics),
        }

    @classmethod
    def load(
        cls,
        directory: str | Path,
        model: nn.Module | None = None,
        *,
        allow_model_mismatch: bool = False,
        allow_non_orthonormal: bool = False,
        allow_tampered: bool = False,
    ) -> Subspace:
        """Read an artifact.

        Args:
            directory: where `save` wrote it, or the folder of a run of `das train`.
            model: refuse unless it is the one the subspace was learned in.
            allow_model_mismatch: skip that check.
            allow_non_orthonormal: accept a basis whose columns are not orthonormal, or break another invariant.
            allow_tampered: accept files that differ from what was saved.

        Raises:
            ArtifactError: nothing there, unknown format, changed files, another model, or a broken basis.
        """
        path = storage.artifact_folder(Path(directory))
        config, tensors = storage.read(path, allow_tampered)
        subspace = cls._from_plain(config, tensors)
        for name, violation in subspace.interventions.invariants().items():
            if not violation <= TOLERANCE and not allow_non_orthonormal:
                what = name.split("/")[-1].replace("_", " ")
                raise ArtifactError(
                    f"the basis is not {what}", got=f"residual {violation:.3g} ({name})",
                    remedy="retrain or repair it yourself, or pass allow_non_orthonormal=True",
                )  # fmt: skip
        if model is not None and not allow_model_mismatch:
            subspace.check(model)
        flags: dict[str, Any] = {"allow_non_orthonormal": allow_non_orthonormal, "allow_tampered": allow_tampered}
        folders = storage.controls_of(path, config, allow_tampered)
        return replace(subspace, controls={name: cls.load(folder, **flags) for name, folder in folders.items()})

    @classmethod
    def _from_plain(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Subspace:
        try:
            interventions, factors = rebuild(config["interventions"], config["sites"], tensors)
            finder = config["span_finder"]
            return cls(
                interventions, ModelCard(**config["base_model"]), factors,
                None if finder is None else SpanFinder.from_json(finder),
                config["task"], dict(config["training"]), dict(config["metrics"]),
            )  # fmt: skip
        except DasError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError("the artifact's description is incomplete", got=str(error)) from error

"""Format `bundle`: the network of a training run, see tierenv.agents.bundle."""

from tierenv.agents.bundle import write_bundle
from tierenv.agents.export import ExportRequest
from tierenv.agents.export.learned_source import requested_source
from tierenv.errors import ConfigError


def write(request: ExportRequest) -> None:
    """Write the best model of a run folder; the bundle is for the daemon the run was trained on."""
    source = requested_source(request)
    if source.is_bundle and not request.gains:
        raise ConfigError(f"{request.policy}: is a bundle already; copy the folder")
    write_bundle(
        request.output,
        name=request.output.resolve().name,
        model=source.model,
        daemon=source.daemon,
        observation=source.observation,
        scenarios=source.scenarios,
        training=source.training,
    )

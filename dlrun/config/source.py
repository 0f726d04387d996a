"""The user's own config files, for Hydra: as editors of any system write them."""

import io
from pathlib import Path

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

from dlrun.files import text_of

_ENDINGS = (".yaml", ".yml")


def own_file(folder: str, group: str, option: str) -> Path | None:
    """The file of an option in the user's folder."""
    stem = option.removesuffix(".yaml")
    paths = (Path(folder, group, f"{stem}{ending}") for ending in _ENDINGS)
    return next((path for path in paths if path.is_file()), None)


class OwnConfigs(ConfigSource):
    """Hydra's source of files, which also knows byte order marks, UTF-16 and the ending .yml."""

    @staticmethod
    def scheme() -> str:
        """Of the paths in Hydra's search path."""
        return "conf"

    def load_config(self, config_path: str) -> ConfigResult:
        """What a file says. Raises UserError or YAMLError with its name and line."""
        path = own_file(self.path, "", config_path)
        if path is None:
            raise ConfigLoadError(f"{config_path}: no such file in {self.path}")
        text = io.StringIO(text_of(path))
        text.name = str(path)  # YAML's errors begin with it
        header = ConfigSource._get_header_dict(text.getvalue()[:512])
        source = f"{self.scheme()}://{self.path}"
        return ConfigResult(self.provider, source, OmegaConf.load(text), header)

    def available(self) -> bool:
        """Whether the folder is there."""
        return self.is_group("")

    def is_group(self, config_path: str) -> bool:
        """Whether it is a folder."""
        return Path(self.path, config_path).is_dir()

    def is_config(self, config_path: str) -> bool:
        """Whether there is such a file."""
        return own_file(self.path, "", config_path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The groups, the configs, or both."""
        below = list(Path(self.path, config_path).iterdir())
        groups = [path.name for path in below if path.is_dir() and path.name != "__pycache__"]
        configs = [path.stem for path in below if path.suffix in _ENDINGS and path.is_file()]
        wanted = {ObjectType.GROUP: groups, ObjectType.CONFIG: configs, None: groups + configs}
        return sorted(set(wanted[results_filter]))

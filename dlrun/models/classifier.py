"""An encoder with a linear layer, and the outputs of the modules inside of it."""

from torch import Tensor, nn

from dlrun.errors import UserError


class Classifier(nn.Module):
    """Image (B, C, H, W) to logits (B, K): encoder, dropout on its features, linear layer.

    Without classes the head is None, and the output is the features.
    """

    def __init__(self, encoder: nn.Module, dropout: float, num_classes: int | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head: nn.Module | None = None
        if num_classes is not None:
            width = encoder.feature_dim
            assert isinstance(width, int)
            self.head = nn.Linear(width, num_classes)

    @property
    def num_outputs(self) -> int:
        """K, or the features' D without a head."""
        width = self.encoder.feature_dim if self.head is None else self.head.out_features
        assert isinstance(width, int)
        return width

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K)."""
        features = self.dropout(self.encoder(x))
        output: Tensor = features if self.head is None else self.head(features)
        return output


def tapped(network: Classifier, path: str | None, x: Tensor) -> tuple[Tensor, Tensor]:
    """The output of `network`, and that of its encoder's module `path`.

    Any module by its dotted path, 'stage2.1' say, without a change to the model; '' is the encoder
    itself, its features; None the network, its output.
    """
    if path is None:
        output = network(x)
        return output, output
    seen: list[Tensor] = []
    module = network.encoder.get_submodule(path)
    handle = module.register_forward_hook(
        lambda _, __, output: seen.append(output.clone() if path else output)
    )
    try:
        output = network(x)
    finally:
        handle.remove()
    return output, seen[-1]


def demand_path(network: Classifier, path: str, key: str) -> None:
    """Raises UserError where the encoder has no module of that path."""
    known = [name for name, _ in network.encoder.named_modules() if name]
    if path and path not in known:
        top = [name for name in known if name.count(".") < 2]
        raise UserError(
            f"{key}: got {path!r}, expected the path of a module of the model, one of "
            f"{', '.join(top)}"
        )


def last_map(network: Classifier, x: Tensor) -> str | None:
    """The path of the outermost module of the encoder that ends with a map (B, C, H, W)."""
    shapes: dict[str, tuple[int, ...]] = {}
    children = [name for name, _ in network.encoder.named_modules() if name]
    handles = [
        network.encoder.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: shapes.__setitem__(
                name, tuple(getattr(output, "shape", ()))
            )
        )
        for name in children
    ]
    try:
        network(x)
    finally:
        for handle in handles:
            handle.remove()
    maps = [name for name, shape in shapes.items() if len(shape) == 4 and max(shape[2:]) > 1]
    return maps[-1] if maps else None

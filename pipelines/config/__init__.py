"""Configuration: every section and value there is, frozen. `pipelines/settings.py` reads them."""

from pathlib import Path

from pydantic import Field

from pipelines.config.base import DEFAULT_HOME, REPOSITORY, Section
from pipelines.config.data import (
    MOVIELENS_SIZES,
    FeatureConfig,
    LeakageConfig,
    SourceConfig,
    SparkConfig,
    SplitConfig,
    SyntheticConfig,
    ValidationConfig,
)
from pipelines.config.models import (
    DEFAULT_TRAINING,
    ColdStartConfig,
    EvaluationConfig,
    IndexConfig,
    RankingConfig,
    RetrievalConfig,
    SearchConfig,
    TrainingConfig,
)
from pipelines.config.operation import (
    DrainConfig,
    ParityConfig,
    PortsConfig,
    PromotionConfig,
    RulesConfig,
    ServicesConfig,
)

__all__ = [
    "DEFAULT_HOME",
    "DEFAULT_TRAINING",
    "MOVIELENS_SIZES",
    "REPOSITORY",
    "ColdStartConfig",
    "Config",
    "DrainConfig",
    "EvaluationConfig",
    "FeatureConfig",
    "IndexConfig",
    "LeakageConfig",
    "ParityConfig",
    "PortsConfig",
    "PromotionConfig",
    "RankingConfig",
    "RetrievalConfig",
    "RulesConfig",
    "SearchConfig",
    "Section",
    "ServicesConfig",
    "SourceConfig",
    "SparkConfig",
    "SplitConfig",
    "SyntheticConfig",
    "TrainingConfig",
    "ValidationConfig",
]


class Config(Section):
    """All of it."""

    home: Path = DEFAULT_HOME
    dataset: str = Field("", pattern=r"^[a-z0-9][a-z0-9-]*$|^$", description="namespace of lake, features and runs")
    seed: int = 7
    source: SourceConfig = SourceConfig()
    validation: ValidationConfig = ValidationConfig()
    features: FeatureConfig = FeatureConfig()
    split: SplitConfig = SplitConfig()
    leakage: LeakageConfig = LeakageConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    training: TrainingConfig = TrainingConfig()
    ranking: RankingConfig = RankingConfig()
    search: SearchConfig = SearchConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    index: IndexConfig = IndexConfig()
    promotion: PromotionConfig = PromotionConfig()
    drain: DrainConfig = DrainConfig()
    parity: ParityConfig = ParityConfig()
    rules: RulesConfig = RulesConfig()
    ports: PortsConfig = PortsConfig()
    services: ServicesConfig = ServicesConfig()

    @property
    def mlflow_uri(self) -> str:
        """Tracking server: the configured one, or the embedded server's address."""
        return self.services.mlflow_uri or f"http://127.0.0.1:{self.ports.mlflow}"

    @property
    def serving_url(self) -> str:
        """Serving component: the configured one, or the embedded one's address."""
        return self.services.serving_url or f"http://127.0.0.1:{self.ports.serving}"

    @property
    def lake_uri(self) -> str:
        """Root of this dataset's lake tables."""
        return f"{self.services.lake_uri or self.home / 'lake'}/{self.dataset}"

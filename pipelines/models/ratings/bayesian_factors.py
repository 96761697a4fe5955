"""Bayesian factorization of ratings with attributes: an average over samples, with no penalty to tune."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from pipelines.config import Section
from pipelines.models.ratings.base import Floats, Ratings
from pipelines.models.ratings.factors import FactorModel, Factors
from pipelines.models.ratings.normal_equations import normal_equations
from pipelines.models.retrievers.base import ModelCard


class BayesianFactorSettings(Section):
    """Size and number of samples."""

    num_factors: int = Field(20, ge=1, description="factors of a user and of an item")
    num_burn_in: int = Field(50, ge=0, description="samples thrown away before the first is kept")
    num_samples: int = Field(200, ge=1, description="samples averaged")
    implicit: bool = Field(True, description="which items a user rated, and which users an item, are attributes too")


class BayesianFactors(FactorModel):
    """Biases and factors sampled by Gibbs; their prior means are linear in attributes.

    Bias and factors of a user are normal around `intercept + attributes @ links`; precisions of the noise, of the
    factors and of the links are sampled along.
    """

    card = ModelCard(
        name="bayesian_factors",
        family="factorization",
        needs="ratings; attributes of users and items where there are any",
        good_at="the lowest error of a rating, some hundred thousand ratings",
        source="Salakhutdinov and Mnih, BPMF, ICML 2008; Simm and others, Macau, 2017; Koren, SVD++, KDD 2008",
    )
    Settings = BayesianFactorSettings

    def learn(self, train: Ratings, *, seed: int) -> Factors:
        """Sample users and items in turn; keep every sample after the burn-in, float32."""
        rng = np.random.default_rng(seed)
        size = 1 + self.settings.num_factors
        by_user = train.matrix(train.values - self.mean)
        users = _Side.of(by_user, self._attributes(train, train.user_attributes, transposed=False), size, rng)
        items = _Side.of(by_user.T.tocsr(), self._attributes(train, train.item_attributes, transposed=True), size, rng)
        noise, kept = 1.0, []
        for step in range(self.settings.num_burn_in + self.settings.num_samples):
            users = users.sampled(items.factors, noise, rng)
            items = items.sampled(users.factors, noise, rng)
            noise = _sampled_noise(users, items, rng)
            if step >= self.settings.num_burn_in:
                kept.append((users.factors.astype(np.float32), items.factors.astype(np.float32)))
        return Factors(np.stack([pair[0] for pair in kept]), np.stack([pair[1] for pair in kept]))

    def _attributes(self, train: Ratings, given: Any, *, transposed: bool) -> Floats:
        """Return intercept, attributes given, and what was rated, a row of unit length; `[num_rows, num_columns]`."""
        rated = train.matrix(np.ones(len(train)))
        rated = (rated.T if transposed else rated).tocsr()
        columns = [np.ones((rated.shape[0], 1))]
        if given is not None:
            columns.append(given.toarray())
        if self.settings.implicit:
            lengths = np.maximum(np.asarray(rated.sum(axis=1)), 1)
            columns.append(rated.toarray() / np.sqrt(lengths))
        return np.concatenate(columns, axis=1)


@dataclass(frozen=True)
class _Side:
    """Users or items while they are sampled.

    Attributes:
        ratings: centered, CSR `[num_rows, num_others]`.
        attributes: `[num_rows, num_attributes]`.
        basis: eigenvectors of `attributes' attributes`, and their eigenvalues in `spectrum`.
        factors: bias and factors, `[num_rows, size]`.
        links: from attributes to prior means, `[num_attributes, size]`.
        precision: of factors around their prior means, `[size, size]`.
        link_precision: of the links, in units of `precision`.
    """

    ratings: Any
    attributes: Floats
    basis: Floats
    spectrum: Floats
    factors: Floats
    links: Floats
    precision: Floats
    link_precision: float

    @classmethod
    def of(cls, ratings: Any, attributes: Floats, size: int, rng: np.random.Generator) -> "_Side":
        spectrum, basis = np.linalg.eigh(attributes.T @ attributes)
        factors = rng.normal(0, 0.1, (len(attributes), size))
        links = np.zeros((attributes.shape[1], size))
        return cls(ratings, attributes, basis, np.maximum(spectrum, 0), factors, links, 10.0 * np.eye(size), 10.0)

    def sampled(self, others: Floats, noise: float, rng: np.random.Generator) -> "_Side":
        """Return the side with everything drawn anew, given the other side's factors and the noise's precision."""
        precision = self._sampled_precision(rng)
        links = self._sampled_links(precision, rng)
        link_precision = rng.gamma(
            (links.size + 1) / 2, 2 / (1 + np.einsum("as,st,at->", links, precision, links, optimize=True))
        )
        left, right = normal_equations(self.ratings, others)
        lower = np.linalg.cholesky(noise * left + precision)
        pulled = noise * right + (self.attributes @ links) @ precision
        whitened = np.linalg.solve(lower, pulled[..., None]) + rng.normal(size=(*pulled.shape, 1))
        factors = np.linalg.solve(lower.transpose(0, 2, 1), whitened)[..., 0]
        return _Side(
            self.ratings, self.attributes, self.basis, self.spectrum, factors, links, precision, float(link_precision)
        )

    def _sampled_precision(self, rng: np.random.Generator) -> Floats:
        """Draw from the Wishart posterior, by Bartlett's decomposition."""
        rest = self.factors - self.attributes @ self.links
        size = rest.shape[1]
        scatter = np.eye(size) + rest.T @ rest + self.link_precision * self.links.T @ self.links
        degrees = size + len(rest) + len(self.links)
        factor = np.tril(rng.normal(size=(size, size)), -1)
        factor[np.diag_indices(size)] = np.sqrt(rng.chisquare(degrees - np.arange(size)))
        root = np.linalg.cholesky(np.linalg.inv(scatter)) @ factor
        return np.asarray(root @ root.T)

    def _sampled_links(self, precision: Floats, rng: np.random.Generator) -> Floats:
        """Draw the links: a ridge regression of factors on attributes, disturbed."""
        spread = np.linalg.cholesky(np.linalg.inv(precision)).T
        disturbed = self.factors + rng.normal(size=self.factors.shape) @ spread
        prior = np.sqrt(self.link_precision) * rng.normal(size=self.links.shape) @ spread
        target = self.attributes.T @ disturbed + prior
        return np.asarray(self.basis @ ((self.basis.T @ target) / (self.spectrum + self.link_precision)[:, None]))


def _sampled_noise(users: _Side, items: _Side, rng: np.random.Generator) -> float:
    """Draw the precision of a rating around its prediction."""
    ratings = users.ratings
    rows = np.repeat(np.arange(ratings.shape[0]), np.diff(ratings.indptr))
    left, right = users.factors[rows], items.factors[ratings.indices]
    errors = ratings.data - left[:, 0] - right[:, 0] - np.einsum("pf,pf->p", left[:, 1:], right[:, 1:])
    return float(rng.gamma((1 + len(errors)) / 2, 2 / (1 + errors @ errors)))

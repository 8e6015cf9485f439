"""A team's sites as the API shows them."""

from pydantic import BaseModel, Field

from service.estimates.schemas import Quantity


class SiteEntry(BaseModel):
    """A place where a team has measured."""

    site: str = Field(
        description="Its name within the team; the team's own name where rows say no other.", examples=["cluster-a"]
    )
    rows: int = Field(description="Measurements that are learned from: accepted and quarantined ones.", examples=[42])


class SiteList(BaseModel):
    """The sites of the key's team."""

    team: str = Field(
        description="The team's name. As a site it stands for all that the team measured.", examples=["vision"]
    )
    items: list[SiteEntry] = Field(description="The sites, by name.")


class LearnedSite(SiteEntry):
    """What a site's measurements taught."""

    calibration: str = Field(description="Version of the calibration that they shift.", examples=["ea19f40dc149"])
    site_version: str | None = Field(
        description="Version of what was learned, as in an estimate's `evidence`; null: nothing yet.",
        examples=["5c1f0a9b"],
    )
    time_ratio: Quantity | None = Field(
        description="Time of another run like those measured here, over what a site that nobody knows is predicted: "
        "1.8 is 1.8 times slower. Null: nothing is learned yet."
    )

"""The client against a running service, both ways."""

from typing import Any

import pytest

from service.client import AsyncTraincast, Traincast, TraincastError
from service.estimates.schemas import Estimate

RESNET: dict[str, Any] = {"model": {"name": "resnet-50"}, "hardware": {"accelerator": "V100-SXM2-16GB", "count": 8}}


def test_it_asks_by_name_or_by_fields(service_url: str) -> None:
    with Traincast(service_url) as traincast:
        by_name = traincast.estimate(model="resnet-50", hardware="T4")
        by_fields = traincast.estimate(model={"name": "resnet-50"}, hardware={"accelerator": "T4", "count": 1})
        assert by_name.throughput == by_fields.throughput
        priced = traincast.estimate(**RESNET, data={"name": "imagenet-1k"}, pricing={"usd_per_accelerator_hour": 1})
        assert priced.cost_usd is not None
        assert priced.accelerator_hours is not None
        assert priced.cost_usd.p50 == pytest.approx(priced.accelerator_hours.p50)


def test_levers_say_what_would_shorten_a_run(service_url: str) -> None:
    with Traincast(service_url) as traincast:
        found = traincast.levers(**RESNET, data={"name": "imagenet-1k"}, assume={"kept_fraction": 0.5})
    assert "better-data" in {lever.name for lever in found.levers}


def test_a_refusal_says_what_would_be_right(service_url: str) -> None:
    with Traincast(service_url) as traincast, pytest.raises(TraincastError, match="H100") as refused:
        traincast.estimate(model="resnet-50", hardware="H1000")
    assert refused.value.status == 422
    assert refused.value.problem["errors"][0]["field"] == "hardware.accelerator"


def test_many_are_answered_in_order_with_errors_in_their_place(service_url: str) -> None:
    with Traincast(service_url) as traincast:
        answers = list(traincast.estimate_many([RESNET, {"model": {"name": "x"}}, RESNET]))
    assert [type(answer) for answer in answers] == [Estimate, TraincastError, Estimate]


def test_some_figures_are_answered_alone(service_url: str) -> None:
    fields = ["mfu", "throughput.samples_per_second"]
    with Traincast(service_url) as traincast:
        whole = traincast.estimate(**RESNET).model_dump()
        some = traincast.figures(fields, **RESNET)
        assert some == {
            "throughput": {"samples_per_second": whole["throughput"]["samples_per_second"]},
            "mfu": whole["mfu"],
        }
        many = list(traincast.figures_of_many(fields, [RESNET, {"model": {"name": "x"}}]))
        assert many[0] == some
        assert isinstance(many[1], TraincastError)
        with pytest.raises(TraincastError, match="mfu"):
            traincast.figures(["mfuu"], **RESNET)


def test_sweeps_and_offers_are_read(service_url: str) -> None:
    with Traincast(service_url) as traincast:
        swept = traincast.sweep(**RESNET, vary={"hardware.accelerator": ["T4", "H1000"]})
        assert [point.problem is None for point in swept.points] == [True, False]
        assert swept.curves[0].samples_per_second.p50[1] is None
        offered = traincast.offers(**RESNET, data={"name": "imagenet-1k"}, order="carbon")
        assert offered.order == "carbon"
        assert offered.offers
        with pytest.raises(TraincastError, match=r"hardware\.count"):
            traincast.sweep(**RESNET, vary={"hardware.cuont": [1]})


def test_saved_estimates_and_lists_are_read(service_url: str) -> None:
    with Traincast(service_url) as traincast:
        saved = traincast.estimate(**RESNET, save=True)
        assert saved.id
        assert traincast.saved_estimate(saved.id).request["hardware"]["count"] == 8
        sources = list(traincast.items("/v1/sources", limit=25))
        assert len(sources) > 60
        assert traincast.get("/v1/accelerators/T4")["slug"] == "T4"


@pytest.mark.anyio
async def test_it_does_the_same_asynchronously(service_url: str) -> None:
    async with AsyncTraincast(service_url) as traincast:
        saved = await traincast.estimate(**RESNET, save=True)
        assert saved.id
        assert (await traincast.saved_estimate(saved.id)).throughput == saved.throughput
        answers = [answer async for answer in traincast.estimate_many([RESNET, {"model": {"name": "x"}}])]
        assert [type(answer) for answer in answers] == [Estimate, TraincastError]
        assert set(await traincast.figures(["mfu"], **RESNET)) == {"mfu"}
        some = [answer async for answer in traincast.figures_of_many(["mfu"], [RESNET])]
        assert [list(answer) for answer in some if isinstance(answer, dict)] == [["mfu"]]
        swept = await traincast.sweep(**RESNET, vary={"runs": [1, 2]})
        assert len(swept.points) == 2
        assert (await traincast.offers(**RESNET, data={"name": "imagenet-1k"})).offers
        assert len([source async for source in traincast.items("/v1/sources", limit=25)]) > 60
        assert (await traincast.levers(model="resnet-50", hardware="T4")).levers
        with pytest.raises(TraincastError):
            await traincast.get("/v1/accelerators/H1000")


@pytest.mark.anyio
async def test_plans_are_asked_for_by_the_chips_names_or_by_fields(service_url: str) -> None:
    question: dict[str, Any] = {
        "model": "resnet-50",
        "data": {"name": "imagenet-1k"},
        "training": {"precision": "fp16"},
    }
    with Traincast(service_url) as traincast:
        by_name = traincast.plan(hardware=["T4", "V100-SXM2-16GB"], limit=3, **question)
        assert len(by_name.plans) == 3
        with pytest.raises(TraincastError, match="H100"):
            traincast.plan(hardware=["H1000"], **question)
    async with AsyncTraincast(service_url) as asynchronous:
        by_fields = {"accelerators": ["T4", "V100-SXM2-16GB"], "max_count": 4096}
        assert await asynchronous.plan(hardware=by_fields, limit=3, **question) == by_name

"""The worker Pod of a DataVolume: what the agent on its node does to fill the claim. Pure.

Source: containerized-data-importer pkg/controller/import-controller.go (Pod shape); `kvtui.api.worker` (the job).
"""

from __future__ import annotations

from kvtui.api.cdi.config import CDIConfig
from kvtui.api.cdi.datavolume import DataVolume, DataVolumeSource
from kvtui.api.core.pod import Container, ContainerResources, Pod, PodSpec, PodVolume
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.meta import ObjectMeta
from kvtui.api.registry import owner_reference
from kvtui.api.wire import to_json
from kvtui.api.worker import (
    CONTAINER,
    JOB_ANNOTATION,
    WORKER_LABEL,
    BlankSource,
    CloneSource,
    HttpSource,
    Job,
    Proxy,
    RegistrySource,
    S3Source,
    UploadSource,
)
from kvtui.controllers.datavolume import names
from kvtui.controllers.datavolume.claim import requested

SUPPORTED = ("http", "registry", "s3", "blank", "pvc", "upload")
IMAGE = "kvtui/importer"
"""No such image exists: the agent knows what the container stands for."""
_COMPONENTS = {"import": "importer", "clone": "cdi-clone-source", "upload": "cdi-upload-server"}
_REQUESTS = {"cpu": "100m", "memory": "60M"}
_LIMITS = {"cpu": "750m", "memory": "600M"}


def source_of(dv: DataVolume) -> str:
    """Name of the one source that is set; "" when the claim is populated from elsewhere."""
    source = dv.spec.source or DataVolumeSource()
    for name in ("http", "registry", "s3", "blank", "pvc", "snapshot", "upload", "gcs", "imageio", "vddk"):
        if getattr(source, name) is not None:
            return name
    return ""


def kind_of(dv: DataVolume) -> str:
    """import, clone, upload, or external for what no worker fills."""
    source = source_of(dv)
    if source not in SUPPORTED:
        return "external"
    return {"pvc": "clone", "upload": "upload"}.get(source, "import")


def pod_name(dv: DataVolume) -> str:
    prefix = {"pvc": "cdi-clone", "upload": "cdi-upload"}.get(source_of(dv), "importer")
    return names.shortened(f"{prefix}-{dv.metadata.name}").replace(".", "-")


def job_of(dv: DataVolume, claim: PersistentVolumeClaim, config: CDIConfig | None, overhead: float) -> Job:
    """What the worker is to do. The size is the claim's."""
    source = dv.spec.source or DataVolumeSource()
    block = claim.spec.volume_mode == "Block"
    spec = config.spec if config is not None else None
    proxy = spec.import_proxy if spec is not None else None
    common = {
        "uid": dv.metadata.uid,
        "claim": claim.metadata.name,
        "size": requested(claim),
        "overhead": 0.0 if block else overhead,
        "block": block,
        "preallocate": bool(dv.spec.preallocation or (dv.spec.preallocation is None and spec and spec.preallocation)),
        "archive": dv.spec.content_type == "archive",
        "proxy": proxy
        and Proxy(http=proxy.http_proxy or "", https=proxy.https_proxy or "", no_proxy=proxy.no_proxy or ""),
        "trusted_ca_config_map": (proxy.trusted_ca_proxy or "") if proxy else "",
    }
    if (http := source.http) is not None:
        common |= {
            "http": HttpSource(
                url=http.url or "",
                checksum=http.checksum or "",
                insecure_skip_verify=bool(http.insecure_skip_verify),
                extra_headers=http.extra_headers,
                secret_extra_headers=http.secret_extra_headers,
            ),
            "secret": http.secret_ref or "",
            "cert_config_map": http.cert_config_map or "",
        }
    elif (registry := source.registry) is not None:
        url = registry.url or ""
        host = url.removeprefix("docker://").partition("/")[0]
        insecure = host in (spec.insecure_registries if spec is not None else [])
        architecture = (registry.platform.architecture or "") if registry.platform is not None else ""
        common |= {
            "registry": RegistrySource(url=url, architecture=architecture, insecure=insecure),
            "secret": registry.secret_ref or "",
            "cert_config_map": registry.cert_config_map or "",
        }
    elif (s3 := source.s3) is not None:
        common |= {
            "s3": S3Source(url=s3.url or ""),
            "secret": s3.secret_ref or "",
            "cert_config_map": s3.cert_config_map or "",
        }
    elif (clone := source.pvc) is not None:
        common |= {"clone": CloneSource(namespace=clone.namespace or dv.metadata.namespace, claim=clone.name)}
    elif source.upload is not None:
        common |= {"upload": UploadSource()}
    else:
        common |= {"blank": BlankSource()}
    return Job(**common)  # type: ignore[arg-type]


def render(dv: DataVolume, claim: PersistentVolumeClaim, job: Job, *, node: str = "") -> Pod:
    """The worker Pod. `node`: the only node that can read the source of a clone."""
    volumes = [PodVolume(name="cdi-data-vol", persistent_volume_claim={"claimName": claim.metadata.name})]
    if job.clone is not None and job.clone.namespace == dv.metadata.namespace:
        volumes.append(
            PodVolume(name="source", persistent_volume_claim={"claimName": job.clone.claim, "readOnly": True})
        )
    selector = {"kubevirt.io/schedulable": "true"}
    if node:
        selector["kubernetes.io/hostname"] = node
    kind = kind_of(dv)
    return Pod(
        metadata=ObjectMeta(
            name=pod_name(dv),
            namespace=dv.metadata.namespace,
            labels={
                **names.APP,
                **names.COMPONENT,
                "cdi.kubevirt.io": _COMPONENTS[kind],
                WORKER_LABEL: kind,
            },
            annotations={JOB_ANNOTATION: to_json(job).decode()},
            owner_references=[owner_reference(claim)],
        ),
        spec=PodSpec(
            containers=[
                Container(
                    name=CONTAINER,
                    image=IMAGE,
                    resources=ContainerResources(requests=dict(_REQUESTS), limits=dict(_LIMITS)),
                )
            ],
            volumes=volumes,
            node_selector=selector,
            restart_policy="OnFailure",
            priority_class_name=dv.spec.priority_class_name or "",
            service_account_name=dv.spec.service_account_name or "",
        ),
    )

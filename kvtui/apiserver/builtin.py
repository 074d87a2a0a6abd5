"""The built-in kinds as data.

Source: https://kubernetes.io/docs/reference/kubernetes-api/.
"""

from __future__ import annotations

from typing import Any

from kvtui.apiserver.kinds import (
    apiservices,
    autoscaling,
    bookkeeping,
    certificates,
    config,
    crds,
    limits,
    namespaces,
    nodes,
    pods,
    policies,
    rbac,
    services,
    storage,
    webhooks,
    workloads,
)
from kvtui.apiserver.resources import CREATE_ONLY, LazySchema, NameRule, ResourceInfo, ScalePaths, Subresource
from kvtui.apiserver.schema import builtin as schema_table
from kvtui.apiserver.strategy import Strategy

_STATUS = Subresource("status")
_SCALE = Subresource("scale", group="autoscaling", version="v1", kind="Scale")
_REPLICAS = ScalePaths(("spec", "replicas"), ("status", "replicas"), ("spec", "selector"))
_GET = ("get",)


def _info(group_version: str, plural: str, kind: str, **options: Any) -> ResourceInfo:
    group, _, version = group_version.rpartition("/")
    name = schema_table.type_name(options.get("stored", group_version), kind)
    schema = LazySchema(lambda: schema_table.openapi(name)) if name else None
    status = bool(options.pop("status", False))
    subresources = tuple(options.pop("subresources", ()))
    if status:
        subresources = (*subresources, _STATUS)
    if options.get("scale"):
        subresources = (*subresources, _SCALE)
    return ResourceInfo(
        group=group,
        version=version,
        plural=plural,
        kind=kind,
        singular=options.pop("singular", kind.lower()),
        list_kind=f"{kind}List",
        status=status,
        subresources=subresources,
        bucket=options.pop("bucket", f"{plural}.{group}" if group else plural),
        stored_api_version=options.pop("stored", group_version),
        schema=schema,
        unconditional_update=options.pop("unconditional_update", True),
        **options,
    )


def _review(group_version: str, plural: str, kind: str, *, namespaced: bool = False) -> ResourceInfo:
    return _info(group_version, plural, kind, namespaced=namespaced, verbs=CREATE_ONLY)


def _workload(
    group_version: str, plural: str, kind: str, strategy: Strategy, *, short: str = "", scale: bool = True
) -> ResourceInfo:
    return _info(
        group_version,
        plural,
        kind,
        short_names=(short,) if short else (),
        categories=("all",),
        status=True,
        scale=_REPLICAS if scale else None,
        generation=True,
        strategy=strategy,
    )


_RBAC = "rbac.authorization.k8s.io/v1"

BUILTIN: tuple[ResourceInfo, ...] = (
    _info(
        "v1",
        "bindings",
        "Binding",
        verbs=CREATE_ONLY,
    ),
    _info(
        "v1",
        "componentstatuses",
        "ComponentStatus",
        namespaced=False,
        short_names=("cs",),
        verbs=("get", "list"),
        warning="v1 ComponentStatus is deprecated in v1.19+",
    ),
    _info("v1", "configmaps", "ConfigMap", short_names=("cm",), strategy=config.ConfigMaps()),
    _info(
        "v1",
        "endpoints",
        "Endpoints",
        singular="endpoints",
        short_names=("ep",),
        create_on_update=True,
    ),
    _info("v1", "events", "Event", short_names=("ev",), strategy=bookkeeping.Events()),
    _info("v1", "limitranges", "LimitRange", short_names=("limits",), strategy=limits.LimitRanges()),
    _info(
        "v1",
        "namespaces",
        "Namespace",
        namespaced=False,
        short_names=("ns",),
        verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
        status=True,
        subresources=(Subresource("finalize", ("update",)),),
        name_rule=NameRule.LABEL,
        strategy=namespaces.Namespaces(),
    ),
    _info(
        "v1",
        "nodes",
        "Node",
        namespaced=False,
        short_names=("no",),
        status=True,
        status_on_create=True,
        subresources=(Subresource("proxy", ("create", "delete", "get", "patch", "update"), kind="NodeProxyOptions"),),
        strategy=nodes.Nodes(),
    ),
    _info(
        "v1",
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        short_names=("pvc",),
        status=True,
        strategy=storage.Claims(),
    ),
    _info(
        "v1",
        "persistentvolumes",
        "PersistentVolume",
        namespaced=False,
        short_names=("pv",),
        status=True,
        strategy=storage.Volumes(),
    ),
    _info(
        "v1",
        "pods",
        "Pod",
        short_names=("po",),
        categories=("all",),
        status=True,
        subresources=(
            Subresource("attach", ("create", "get"), kind="PodAttachOptions"),
            Subresource("binding", CREATE_ONLY, kind="Binding"),
            Subresource("ephemeralcontainers"),
            Subresource("eviction", CREATE_ONLY, group="policy", version="v1", kind="Eviction"),
            Subresource("exec", ("create", "get"), kind="PodExecOptions"),
            Subresource("log", _GET),
            Subresource("portforward", ("create", "get"), kind="PodPortForwardOptions"),
        ),
        generation=True,
        strategy=pods.Pods(),
    ),
    _info("v1", "podtemplates", "PodTemplate", strategy=workloads.PodTemplates()),
    _workload("v1", "replicationcontrollers", "ReplicationController", workloads.ReplicationControllers(), short="rc"),
    _info("v1", "resourcequotas", "ResourceQuota", short_names=("quota",), status=True),
    _info("v1", "secrets", "Secret", strategy=config.Secrets()),
    _info(
        "v1",
        "serviceaccounts",
        "ServiceAccount",
        short_names=("sa",),
        subresources=(
            Subresource("token", CREATE_ONLY, group="authentication.k8s.io", version="v1", kind="TokenRequest"),
        ),
    ),
    _info(
        "v1",
        "services",
        "Service",
        short_names=("svc",),
        categories=("all",),
        status=True,
        subresources=(
            Subresource("proxy", ("create", "delete", "get", "patch", "update"), kind="ServiceProxyOptions"),
        ),
        name_rule=NameRule.LABEL_1035,
        strategy=services.Services(),
    ),
    _info(
        "apiregistration.k8s.io/v1",
        "apiservices",
        "APIService",
        namespaced=False,
        categories=("api-extensions",),
        status=True,
        name_rule=NameRule.PATH_SEGMENT,
        strategy=apiservices.ApiServices(),
    ),
    _info("apps/v1", "controllerrevisions", "ControllerRevision", strategy=bookkeeping.ControllerRevisions()),
    _workload("apps/v1", "daemonsets", "DaemonSet", workloads.daemon_sets(), short="ds", scale=False),
    _workload("apps/v1", "deployments", "Deployment", workloads.deployments(), short="deploy"),
    _workload("apps/v1", "replicasets", "ReplicaSet", workloads.Workload(replicas=1), short="rs"),
    _workload("apps/v1", "statefulsets", "StatefulSet", workloads.stateful_sets(), short="sts"),
    _info(
        "events.k8s.io/v1",
        "events",
        "Event",
        short_names=("ev",),
        bucket="events",
        stored="v1",
        strategy=bookkeeping.Events(),
        convert_out=bookkeeping.to_regarding,
        convert_in=bookkeeping.to_involved,
    ),
    _review("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview"),
    _review("authentication.k8s.io/v1", "tokenreviews", "TokenReview"),
    _review("authorization.k8s.io/v1", "localsubjectaccessreviews", "LocalSubjectAccessReview", namespaced=True),
    _review("authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    _review("authorization.k8s.io/v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    _review("authorization.k8s.io/v1", "subjectaccessreviews", "SubjectAccessReview"),
    _info(
        "autoscaling/v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        short_names=("hpa",),
        categories=("all",),
        status=True,
        generation=True,
        strategy=autoscaling.Autoscalers(),
    ),
    _info(
        "autoscaling/v1",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        short_names=("hpa",),
        categories=("all",),
        status=True,
        generation=True,
        stored="autoscaling/v2",
        strategy=autoscaling.Autoscalers(),
        convert_out=autoscaling.to_v1,
        convert_in=autoscaling.to_v2,
    ),
    _workload("batch/v1", "cronjobs", "CronJob", workloads.CronJobs(), short="cj", scale=False),
    _workload("batch/v1", "jobs", "Job", workloads.Jobs(), scale=False),
    _info(
        "certificates.k8s.io/v1",
        "certificatesigningrequests",
        "CertificateSigningRequest",
        namespaced=False,
        short_names=("csr",),
        status=True,
        subresources=(Subresource("approval"),),
        strategy=certificates.SigningRequests(),
    ),
    _info("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", short_names=("netpol",), generation=True),
    _info("networking.k8s.io/v1", "ingresses", "Ingress", short_names=("ing",), status=True, generation=True),
    _info("networking.k8s.io/v1", "ingressclasses", "IngressClass", namespaced=False, generation=True),
    _info(
        "policy/v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        short_names=("pdb",),
        status=True,
        generation=True,
    ),
    _info(
        _RBAC,
        "clusterrolebindings",
        "ClusterRoleBinding",
        namespaced=False,
        name_rule=NameRule.PATH_SEGMENT,
        strategy=rbac.Bindings(),
    ),
    _info(
        _RBAC, "clusterroles", "ClusterRole", namespaced=False, name_rule=NameRule.PATH_SEGMENT, strategy=rbac.Roles()
    ),
    _info(_RBAC, "rolebindings", "RoleBinding", name_rule=NameRule.PATH_SEGMENT, strategy=rbac.Bindings()),
    _info(_RBAC, "roles", "Role", name_rule=NameRule.PATH_SEGMENT, strategy=rbac.Roles()),
    _info(
        "storage.k8s.io/v1",
        "storageclasses",
        "StorageClass",
        namespaced=False,
        short_names=("sc",),
        strategy=storage.Classes(),
    ),
    _info("storage.k8s.io/v1", "csidrivers", "CSIDriver", namespaced=False),
    _info("storage.k8s.io/v1", "csistoragecapacities", "CSIStorageCapacity"),
    _info(
        "storage.k8s.io/v1", "volumeattributesclasses", "VolumeAttributesClass", namespaced=False, short_names=("vac",)
    ),
    _info("storage.k8s.io/v1", "csinodes", "CSINode", namespaced=False),
    _info("storage.k8s.io/v1", "volumeattachments", "VolumeAttachment", namespaced=False, status=True),
    _info(
        "admissionregistration.k8s.io/v1",
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
        namespaced=False,
        categories=("api-extensions",),
        generation=True,
        strategy=webhooks.MutatingWebhookConfigurations(),
    ),
    _info(
        "admissionregistration.k8s.io/v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        namespaced=False,
        categories=("api-extensions",),
        generation=True,
        strategy=webhooks.WebhookConfigurations(),
    ),
    *(
        _info(
            f"admissionregistration.k8s.io/{version}",
            plural,
            kind,
            namespaced=False,
            categories=("api-extensions",),
            generation=True,
            bucket=f"{plural}.admissionregistration.k8s.io",
            stored="admissionregistration.k8s.io/v1",
            strategy=strategy,
        )
        for version in ("v1", "v1beta1", "v1alpha1")
        for plural, kind, strategy in (
            ("mutatingadmissionpolicies", "MutatingAdmissionPolicy", policies.Mutations()),
            ("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", policies.MutationBindings()),
        )
    ),
    _info(
        "admissionregistration.k8s.io/v1",
        "validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
        namespaced=False,
        categories=("api-extensions",),
        status=True,
        generation=True,
        strategy=policies.Policies(),
    ),
    _info(
        "admissionregistration.k8s.io/v1",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
        namespaced=False,
        categories=("api-extensions",),
        generation=True,
        strategy=policies.Bindings(),
    ),
    _info(
        "apiextensions.k8s.io/v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        status=True,
        generation=True,
        unconditional_update=False,
        strategy=crds.Definitions(),
    ),
    _info(
        "flowcontrol.apiserver.k8s.io/v1",
        "flowschemas",
        "FlowSchema",
        namespaced=False,
        status=True,
        generation=True,
    ),
    _info(
        "flowcontrol.apiserver.k8s.io/v1",
        "prioritylevelconfigurations",
        "PriorityLevelConfiguration",
        namespaced=False,
        status=True,
        generation=True,
    ),
    _info(
        "storagemigration.k8s.io/v1",
        "storageversionmigrations",
        "StorageVersionMigration",
        namespaced=False,
        status=True,
        generation=True,
        strategy=bookkeeping.Migrations(),
    ),
    _info(
        "scheduling.k8s.io/v1",
        "priorityclasses",
        "PriorityClass",
        namespaced=False,
        short_names=("pc",),
        generation=True,
        strategy=bookkeeping.PriorityClasses(),
    ),
    _info(
        "coordination.k8s.io/v1",
        "leases",
        "Lease",
        unconditional_update=False,
        create_on_update=True,
        strategy=Strategy(),
    ),
    _info("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", namespaced=False),
    _info("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", generation=True),
)

SHORT_HISTORY = ("events", "leases.coordination.k8s.io")
"""Buckets that only ever say `still alive`: their past is kept briefly."""

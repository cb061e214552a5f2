"""The catalog: the workflows of the settings' folder, with their policies in this installation."""

from collections.abc import Callable, Mapping

from postern.access import Access, Policy, SettingMissing, Signed, bind
from postern.assembly.installation import own_tenants
from postern.assembly.people import CurrentPeople
from postern.authoring.signature import WorkflowFault
from postern.authoring.workflow import Workflow
from postern.catalog import Catalog, Snapshot, Trigger
from postern.catalog.snapshot import Fault
from postern.security.findings.alert_workflow import alert_fault
from postern.settings import SettingProblem, Settings, SettingsFault
from postern.settings.own_application import on_behalf_of

NOT_SEALED = (
    "durable=True with secure_inputs or secure_outputs needs a key: set POSTERN_DURABLE_KEY_NAME to the name of a Key "
    "Vault secret, so that bodies are sealed while they lie in the database"
)


NOT_ON_BEHALF = (
    "is used on behalf of the caller, whose token is not kept, and a durable run may outlive it. "
    "Leave out durable=True, or give the entry another way to sign in"
)


Bind = Callable[[Access], Policy]


def binding(settings: Settings, people: Callable[[], Mapping[str, str]]) -> Bind:
    """What makes the policy of an access mode in this installation. It raises AccessFault if there can be none."""

    def bind_here(access: Access) -> Policy:
        return bind(
            access,
            people=people(),
            tenants=own_tenants(settings),
            audiences=settings.audience,
            client_id=settings.client_id,
            auth_contexts=settings.auth_contexts,
        )

    return bind_here


def load_catalog(
    settings: Settings,
    on_change: Callable[[Snapshot, Snapshot], None] | None = None,
    *,
    trial: bool = False,
    missing_secrets: Callable[[], Mapping[str, str]] = dict,
    current_people: CurrentPeople | None = None,
) -> Catalog:
    """The loaded catalog of the settings' folder, with policies for this installation. With `trial`, as in a server,
    modules are tried in another process first. Raises SettingsFault if a
    workflow's access mode needs a setting that is not set."""
    missing: dict[str, str] = {}
    people = current_people or CurrentPeople(settings)
    bind_now = binding(settings, people)

    def bind_here(access: Access) -> Policy:
        try:
            return bind_now(access)
        except SettingMissing as fault:
            missing.update(fault.settings)
            raise

    acts_for_caller = _fits(settings)
    sealed = bool(settings.durable_key_name)

    def fits(workflow: Workflow, policy: Policy) -> None:
        acts_for_caller(workflow, policy)
        if workflow.durable and workflow.secures and not sealed:
            raise WorkflowFault(NOT_SEALED)
        _check_secrets(settings, policy, missing_secrets())

    def around() -> object:
        return people(), missing_secrets()

    def besides(triggers: Mapping[str, Trigger]) -> tuple[Fault, ...]:
        why = alert_fault(settings.findings.run, triggers)
        return (Fault(settings.config, None, f"{why}.", "", ()),) if why else ()

    catalog = Catalog(
        settings.workflows, bind_here, on_change=on_change, around=around, fits=fits, trial=trial, besides=besides
    )
    catalog.load()
    if missing:
        fix = "Workflows that are not anonymous need it: set it to"
        raise SettingsFault(
            [SettingProblem(name, "", "is not set", f"{fix} {value}") for name, value in missing.items()]
        )
    return catalog


def _check_secrets(settings: Settings, policy: Policy, missing: Mapping[str, str]) -> None:
    """Raise WorkflowFault if the secret of a sender cannot be read, as far as that is known, or there is no vault."""
    if not isinstance(policy, Signed):
        return
    if not settings.key_vault_url:
        option = "signed=True" if policy.url else "signed_by="
        raise WorkflowFault(f"{option} needs a Key Vault: set POSTERN_KEY_VAULT_URL, or write another access mode")
    for name in policy.by.secrets if policy.by is not None else ():
        if name.lower() in missing:
            raise WorkflowFault(f"signed_by=: {missing[name.lower()]}")


def _fits(settings: Settings) -> Callable[[Workflow, Policy], None]:
    """A function that raises WorkflowFault if a workflow declares a connection on behalf of its caller, and its callers
    cannot be acted for."""
    entries = on_behalf_of(settings.connections, settings.triggers)
    if not entries:
        return lambda _workflow, _policy: None
    from postern.connections.on_behalf_of.callers import application_of
    from postern.connections.on_behalf_of.rules import wrong_with_workflow

    def fits(workflow: Workflow, policy: Policy) -> None:
        for entry in (f"connections.{name}" for name in workflow.connections or ()):
            if entry in entries:
                wrong = wrong_with_workflow(workflow.access, policy, application_of(entries[entry], settings))
                if wrong is not None:
                    raise WorkflowFault(f"connections=: {entry} {wrong.text}. {wrong.fix}")
                if workflow.durable:
                    raise WorkflowFault(f"connections=: {entry} {NOT_ON_BEHALF}")

    return fits

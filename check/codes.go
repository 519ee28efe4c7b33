package check

import (
	"errors"
	"regexp"
	"strings"

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/policy"
)

// The codes of findings. A code never changes its meaning.
const (
	codeYAML             = "yaml_invalid"
	codeKeyRepeated      = "key_repeated"
	codeFormat           = "format_version"
	codeDocumentUnread   = "document_unread"
	codeFieldUnknown     = "field_unknown"
	codeFieldMissing     = "field_missing"
	codeFieldType        = "field_type"
	codeValueNotAllowed  = "value_not_allowed"
	codeValueRange       = "value_out_of_range"
	codeValuePattern     = "value_pattern"
	codeValueLength      = "value_length"
	codeVaultMalformed   = "vault_malformed"
	codeVaultUnresolved  = "vault_not_resolved"
	codePluginUnknown    = "plugin_unknown"
	codePluginRepeated   = "plugin_repeated"
	codeNameRepeated     = "name_repeated"
	codeReferenceUnknown = "reference_unknown"

	codeConfigInvalid    = "config_invalid"
	codeConditionInvalid = "condition_invalid"

	codeIdentityMissing    = "identity_missing"
	codeIdentityOnConsumer = "identity_on_consumer"
	codeRoleUnknown        = "role_unknown"
	codeRoleNobody         = "roles_nobody_has"
	codeTriggerAndGuard    = "trigger_and_guard"
	codeTriggerEverywhere  = "trigger_everywhere"
	codeGuardEverywhere    = "guard_everywhere"
	codeTwoAuthentications = "two_authentications"
	codeNeverRuns          = "plugin_never_runs"
	codeAnswersFirst       = "function_answers_first"
	codeOrdering           = "ordering_not_heeded"
	codeACLGroups          = "acl_without_groups"
	codeCountsNobody       = "limit_without_consumer"
	codeConsumerUnknown    = "consumer_unknown"
	codePathUnreachable    = "path_unreachable"
	codePathStripped       = "path_stripped"
	codeMethodExcluded     = "method_excluded"
	codeUpstreamDiffers    = "upstream_differs"
	codeUnguarded          = "prefect_unguarded"

	codeSecretInClear = "secret_in_clear"
	codeInsecure      = "insecure_setting"
	codeRoleForPerson = "role_for_person"

	codeIssuerUnavailable  = "issuer_unavailable"
	codePrefectUnavailable = "prefect_unavailable"
	codePrefectRefuses     = "prefect_unauthorized"
	codeDeploymentUnknown  = "deployment_unknown"
	codeDeploymentIdle     = "deployment_not_executed"
	codeParameterMisfit    = "parameter_misfit"
	codeChoiceEmpty        = "choice_empty"
)

// kind is what all findings of a code have in common.
type kind struct {
	severity Severity
	means    string
	do       string
}

// codes are all codes, for findings and for docs/check.md.
var codes = map[string]kind{
	codeYAML:             {Error, "The file can't be read as YAML. What stands behind the place isn't checked.", "Mend the syntax: indentation, a colon, a quote that isn't closed."},
	codeKeyRepeated:      {Error, "A key stands twice in one mapping.", "Take one of the two away."},
	codeFormat:           {Error, "_format_version is missing or unknown, or the file is no configuration of Kong's.", `Begin the file with _format_version: "3.0".`},
	codeDocumentUnread:   {Error, "A file has several documents, and Kong reads the first alone: nothing of this one counts.", "Put what it says into the first document."},
	codeFieldUnknown:     {Error, "There is no such field. Kong refuses the whole file.", "Correct the name, or take the field away: docs/configuration.md has all fields."},
	codeFieldMissing:     {Error, "A field that must be given isn't there.", "Give it: docs/configuration.md says what it means."},
	codeFieldType:        {Error, "A value is of another type than its field.", "Write what docs/configuration.md names as the field's type; quote what is a text."},
	codeValueNotAllowed:  {Error, "A value isn't one of those that its field takes.", "Choose one of them."},
	codeValueRange:       {Error, "A number is too small or too large.", "Choose a number between the two."},
	codeValuePattern:     {Error, "A text doesn't have the form that its field wants.", "Write it as docs/configuration.md says."},
	codeValueLength:      {Error, "A text or a list is too short.", "Fill it, or leave the field out where it isn't required."},
	codeVaultMalformed:   {Error, "A text looks like a vault reference and isn't one, so that it would be taken literally.", `Write "{vault://env/name}", in quotes, with the vault's name and the secret's.`},
	codeVaultUnresolved:  {Error, "A vault reference stands in a field in which Kong resolves none.", "Write the value itself, or use a field that docs/configuration.md marks referenceable."},
	codePluginUnknown:    {Error, "A plugin's name is nearly one of ours, and isn't.", "Correct the name."},
	codePluginRepeated:   {Error, "A plugin is configured twice in the same place. Kong refuses the file.", "Make one configuration of the two."},
	codeNameRepeated:     {Error, "Two services, routes or consumers have one name. Kong refuses the file.", "Rename one of them."},
	codeReferenceUnknown: {Error, "What is named isn't in the files.", "Correct the name, or check the file that has it together with this one."},

	codeConfigInvalid:    {Error, "The plugin can't work with this configuration: it would refuse every request with config_invalid.", "Change the field: docs/configuration.md says what it means."},
	codeConditionInvalid: {Error, "A CEL condition doesn't compile. The plugin would refuse every request with config_invalid.", "Correct the expression: docs/trigger.md and docs/identity.md say what conditions can ask about."},

	codeIdentityMissing:    {Error, "prefect-trigger or prefect-guard runs on a route that no prefect-identity reaches: every request is refused with identity_missing. In manifests it is a warning, since it may be configured elsewhere.", "Configure prefect-identity for every route, or on this route or its service."},
	codeIdentityOnConsumer: {Error, "prefect-identity is configured on a consumer. It never runs: who calls is known only after it.", "Configure it for every route, on a service or on a route."},
	codeRoleUnknown:        {Warning, "A role is allowed that prefect-identity gives to nobody; other callers may pass.", "Correct the role's name, or give it to somebody in prefect-identity's roles."},
	codeRoleNobody:         {Error, "All roles that a route or the guard allows are roles that nobody has: every request is refused.", "Correct the roles' names, or give one of them to somebody in prefect-identity's roles."},
	codeTriggerAndGuard:    {Error, "prefect-trigger and prefect-guard run on one route: the trigger answers, and the guard has nothing left to guard.", "Give each a route of its own."},
	codeTriggerEverywhere:  {Warning, "prefect-trigger is configured for every route: each of them starts the deployment and answers itself.", "Configure it on the route that starts this deployment."},
	codeGuardEverywhere:    {Error, "prefect-guard is configured for every route: Prefect's credential goes to every upstream.", "Configure it on the service or the route that leads to Prefect."},
	codeTwoAuthentications: {Warning, "Another plugin that authenticates runs on a route with prefect-identity: a caller must satisfy both, and the later one decides who the consumer is.", "Leave one of them on this route."},
	codeNeverRuns:          {Warning, "A plugin runs after prefect-trigger, which has answered by then.", "Take it away from this route."},
	codeAnswersFirst:       {Warning, "A pre-function may answer before prefect-identity has looked at the caller.", "Make sure that what it answers is for everybody, or do it in a post-function or on another route."},
	codeOrdering:           {Warning, "ordering is heeded by Kong Gateway Enterprise alone, and these plugins rely on their priorities: identity, then acl and rate limits, then trigger or guard.", "Take ordering away."},
	codeACLGroups:          {Error, "acl runs on a route, and no caller can be in a group that it allows.", "Allow the roles or groups that prefect-identity gives (authenticated_groups)."},
	codeCountsNobody:       {Warning, "A limit counts by consumer, and no caller is one: it counts by address instead, and all who share one share the limit.", "Set the issuers' consumer.mode to caller or kong, or limit by something else."},
	codeConsumerUnknown:    {Error, "The anonymous consumer isn't in the files: requests without a token are refused.", "Add the consumer, correct its name, or take anonymous away."},
	codePathUnreachable:    {Error, "No request that reaches the trigger's route has the form of its path: all are refused with path_unknown.", "Make the route's paths and the trigger's path begin alike."},
	codePathStripped:       {Warning, "The route takes the beginning of the path away that prefect-guard looks for: every request is refused with route_unknown.", "Set strip_path: false on the route, or put the path into the service's."},
	codeMethodExcluded:     {Warning, "The route doesn't let POST through, by which the trigger starts runs.", "Add POST to the route's methods, or leave methods out."},
	codeUnguarded:          {Warning, "A route leads to Prefect's API past prefect-guard: whoever reaches the gateway can do everything there, as far as Prefect itself asks for no password.", "Configure prefect-guard for the service, or give this route paths that can't reach the API, with strip_path: false."},
	codeUpstreamDiffers:    {Warning, "prefect-guard asks one server what the caller may see, and the service sends the request to another.", "Make api_url and the service's address the same server."},

	codeSecretInClear: {Warning, "A secret stands in the file.", `Take it from elsewhere: "{vault://env/name}" in its place, a ..._file or ..._env field, or decK's ${{ env "DECK_NAME" }}; in Kubernetes configPatches.`},
	codeInsecure:      {Warning, "A field whose name begins with insecure_ is on.", "Turn it off where you can; docs/configuration.md says what it gives away."},
	codeRoleForPerson: {Advice, "A role is given to single people by subject.", "Give it to a group, and let the identity provider say who is in it."},

	codeIssuerUnavailable:  {Error, "An issuer's keys can't be had from here: none of its tokens would be taken.", "Correct the address, or check with --offline where this machine can't reach it."},
	codePrefectUnavailable: {Error, "Prefect can't be reached from here.", "Correct api_url, or check with --offline where this machine can't reach it."},
	codePrefectRefuses:     {Error, "Prefect refuses the credential, or it can't be had.", "Give the auth string or API key that the server wants."},
	codeDeploymentUnknown:  {Error, "Prefect has no such deployment.", "Correct the name (flow/deployment), or deploy it first."},
	codeDeploymentIdle:     {Error, "Runs of the deployment would wait for nobody knows how long: it is paused, or has no work pool and no process that serves it. The trigger refuses them.", "Resume or serve the deployment; allow_paused and allow_without_work_pool start its runs all the same."},
	codeParameterMisfit:    {Error, "The route's parameters, or a condition about them, don't fit the deployment's schema.", "Correct the route's parameters, or deploy the flow that has them."},
	codeChoiceEmpty:        {Warning, "Prefect has no deployment that fits a pattern of choose.", "Correct the pattern (flow/deployment), or deploy what it means."},
}

// conditionProblem makes one line of what CEL says in several.
func conditionProblem(p plugin.ConfigProblem) (text string, is bool) {
	if !errors.Is(p.Err, policy.ErrCondition) {
		return "", false
	}
	found := celError.FindAllStringSubmatch(p.Text, -1)
	if len(found) == 0 {
		return strings.TrimPrefix(p.Text, "condition: "), true
	}
	var all []string
	for _, match := range found {
		where := "at character " + match[2]
		if match[1] != "1" {
			where = "in line " + match[1] + " " + where
		}
		all = append(all, where+": "+strings.TrimSuffix(match[3], " (in container '')"))
	}
	return strings.Join(all, "; "), true
}

var celError = regexp.MustCompile(`ERROR: <input>:(\d+):(\d+): ([^\n]*)`)

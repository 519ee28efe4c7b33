package plugin

import (
	"net/http"

	"github.com/kong-prefect/kong-prefect/guard"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/policy"
	"github.com/kong-prefect/kong-prefect/token"
)

// Codes of refusals that no stage before this package gives.
const (
	CodeConfigInvalid        = "config_invalid"
	CodeCrossSite            = "cross_site_request"
	CodeHeadersTooMany       = "headers_too_many"
	CodeConnectionForbidden  = "connection_header_forbidden"
	CodeClaimsInvalid        = "claims_invalid"
	CodeGroupsOverage        = "groups_overage"
	CodeIdentityMissing      = "identity_missing"
	CodeRoleNotAllowed       = "role_not_allowed"
	CodeMethodNotAllowed     = "method_not_allowed"
	CodeQuotaExceeded        = "quota_exceeded"
	CodeTooManyRuns          = "too_many_runs"
	CodeQuotaUnavailable     = "quota_unavailable"
	CodeRunUnknown           = "run_unknown"
	CodeRunEnded             = "run_ended"
	CodeBodyNotJSON          = "body_not_json"
	CodeBodyNotObject        = "body_not_object"
	CodeBodyTooLarge         = "body_too_large"
	CodeBodyTypeUnsupported  = "body_type_unsupported"
	CodeIdempotencyKey       = "idempotency_key_invalid"
	CodeParentStampInvalid   = "parent_stamp_invalid"
	CodeStampFailed          = "stamp_failed"
	CodeParametersInvalid    = "parameters_invalid"
	CodePolicyDenied         = "policy_denied"
	CodePathUnknown          = "path_unknown"
	CodeQueryInvalid         = "query_invalid"
	CodeDeploymentNotOffered = "deployment_not_offered"
	CodeDeploymentUndecided  = "deployment_undecided"
	CodeDeploymentPaused     = "deployment_paused"
	CodeDeploymentNoWorkPool = "deployment_without_work_pool"
	CodeParameterForbidden   = "parameter_forbidden"
	CodeDeploymentUnknown    = "deployment_unknown"
	CodePrefectUnauthorized  = "prefect_unauthorized"
	CodePrefectUnavailable   = "prefect_unavailable"
	CodePrefectRefused       = "prefect_refused"
	CodePrefectBusy          = "prefect_busy"
	CodeIdempotencyConflict  = "idempotency_conflict"
	CodeOutcomeUnknown       = "outcome_unknown"

	CodeIdempotencyKeyReused = "idempotency_key_reused"
)

// Codes about consumers and what the upstream is told.
const (
	CodeConsumerUnknown      = "consumer_unknown"
	CodeConsumersUnavailable = "consumers_unavailable"
	CodeAssertionFailed      = "assertion_failed"
	CodeAuditUnavailable     = "audit_unavailable"
)

// Codes about requests that are accepted while Prefect is away.
const (
	CodeOutboxFull        = "outbox_full"
	CodeOutboxUnavailable = "outbox_unavailable"
)

const (
	invalidToken      = "invalid_token"
	invalidRequest    = "invalid_request"
	insufficientScope = "insufficient_scope"
	invalidProof      = "invalid_dpop_proof"
)

// proofCodes are what is wrong with a proof, where the token came with one.
var proofCodes = map[string]bool{
	token.ReasonProofMissing: true, token.ReasonProofInvalid: true, token.ReasonProofMismatch: true, token.ReasonProofReplayed: true,
}

// kinds is every code there is.
var kinds = map[string]kind{
	token.ReasonMissing:                  {401, "This request needs a bearer token: send it as 'Authorization: Bearer TOKEN'.", "-", pluginserver.LevelInfo},
	token.ReasonDuplicate:                {400, "The request carries more than one token; send one.", invalidRequest, pluginserver.LevelInfo},
	token.ReasonUnreadable:               {400, "What should hold the token can't be read; send it as 'Authorization: Bearer TOKEN'.", invalidRequest, pluginserver.LevelInfo},
	token.ReasonMalformed:                {401, "The token can't be read.", invalidToken, pluginserver.LevelInfo},
	token.ReasonTooLarge:                 {401, "The token is too large.", invalidToken, pluginserver.LevelInfo},
	token.ReasonAlgorithm:                {401, "The token is signed by an algorithm that isn't allowed here.", invalidToken, pluginserver.LevelInfo},
	token.ReasonType:                     {401, "The token is no access token; ask the provider for one.", invalidToken, pluginserver.LevelInfo},
	token.ReasonIssuer:                   {401, "The token's issuer isn't known here; sign in with a provider of this gateway.", invalidToken, pluginserver.LevelInfo},
	token.ReasonAudience:                 {401, "The token was made for another service; ask for one with this gateway's audience.", invalidToken, pluginserver.LevelInfo},
	token.ReasonExpired:                  {401, "The token has expired; get a new one.", invalidToken, pluginserver.LevelInfo},
	token.ReasonNotYetValid:              {401, "The token isn't valid yet; check the clocks.", invalidToken, pluginserver.LevelInfo},
	token.ReasonLifetime:                 {401, "The token lives longer than this gateway allows; ask for a shorter one.", invalidToken, pluginserver.LevelInfo},
	token.ReasonSignature:                {401, "The token's signature is wrong.", invalidToken, pluginserver.LevelInfo},
	token.ReasonKeyUnknown:               {401, "The token is signed by a key that its issuer doesn't publish; get a new one.", invalidToken, pluginserver.LevelInfo},
	token.ReasonClaims:                   {401, "The token's claims can't be read.", invalidToken, pluginserver.LevelInfo},
	token.ReasonDenied:                   {401, "The token was revoked; sign in again.", invalidToken, pluginserver.LevelNotice},
	token.ReasonKeysUnavailable:          {503, "The token can't be checked now because its issuer's keys can't be had; try again.", "", pluginserver.LevelErr},
	token.ReasonParty:                    {401, "The token was made for a client that isn't taken here.", invalidToken, pluginserver.LevelInfo},
	token.ReasonNotBound:                 {401, "The token must be bound to its holder's key.", invalidToken, pluginserver.LevelInfo},
	token.ReasonProofMissing:             {401, "The token is bound to a key, and the proof of holding it is missing.", invalidToken, pluginserver.LevelInfo},
	token.ReasonProofInvalid:             {401, "The proof of holding the token's key is wrong.", invalidToken, pluginserver.LevelInfo},
	token.ReasonProofMismatch:            {401, "The proof of holding the token's key is for another request or key.", invalidToken, pluginserver.LevelInfo},
	token.ReasonInactive:                 {401, "The token is no longer valid at its issuer; get a new one.", invalidToken, pluginserver.LevelInfo},
	token.ReasonProofReplayed:            {401, "The proof of holding the token's key was used before; make a new one for each request.", invalidToken, pluginserver.LevelNotice},
	token.ReasonIntrospectionUnavailable: {503, "The token can't be checked now because its issuer doesn't answer; try again.", "", pluginserver.LevelErr},
	token.ReasonDenyListUnavailable:      {503, "The token can't be checked now; try again. The operator finds the reason in the gateway's log.", "", pluginserver.LevelErr},
	token.ReasonReplayMemoryFull:         {503, "Too many proofs are in use now; try again.", "", pluginserver.LevelErr},
	CodeClaimsInvalid:                    {401, "The token's claims can't be used here.", invalidToken, pluginserver.LevelWarn},
	CodeConsumerUnknown:                  {403, "You are known to the provider, but not as a consumer of this gateway; ask its operator to add you.", insufficientScope, pluginserver.LevelNotice},
	CodeConsumersUnavailable:             {503, "It can't be told now which consumer you are; try again.", "", pluginserver.LevelErr},
	CodeAssertionFailed:                  {500, "The gateway couldn't vouch for you to the service behind it; its operator finds the reason in the log.", "", pluginserver.LevelErr},
	CodeGroupsOverage:                    {401, "The token leaves out your groups, because they are too many to fit in; the provider's administrator limits them to those that this gateway needs.", invalidToken, pluginserver.LevelWarn},
	CodeCrossSite:                        {403, "This request came from another site in a browser, whose cookie isn't taken for it; use the Authorization header.", "-", pluginserver.LevelNotice},
	CodeHeadersTooMany:                   {431, "The request has too many headers to be checked; send fewer than 1000.", "", pluginserver.LevelInfo},
	CodeConnectionForbidden:              {400, "The Connection header names a header that this gateway sets; name only headers of your own there.", "", pluginserver.LevelInfo},
	CodeConfigInvalid:                    {500, "This route isn't set up correctly; its operator finds the field in the gateway's log.", "", pluginserver.LevelErr},
	CodeIdentityMissing:                  {500, "This route isn't set up correctly: nobody established who calls. Its operator must enable prefect-identity for it.", "", pluginserver.LevelErr},
	CodeRoleNotAllowed:                   {403, "You are known here, but have no role that may do this; ask the route's owner for one.", insufficientScope, pluginserver.LevelNotice},
	CodeMethodNotAllowed:                 {405, "This method does nothing here: POST starts a run, GET says what may be started; below, by a run's id, GET says how it is and DELETE cancels it.", "", pluginserver.LevelInfo},
	CodeQuotaExceeded:                    {429, "As many runs were started as may be for now; try again after Retry-After.", "", pluginserver.LevelNotice},
	CodeTooManyRuns:                      {429, "As many runs as may be haven't ended yet; try again when one has.", "", pluginserver.LevelNotice},
	CodeQuotaUnavailable:                 {503, "It can't be counted now how many runs were started, so no more are; try again. The operator finds the reason in the gateway's log.", "", pluginserver.LevelErr},
	CodeRunUnknown:                       {404, "There is no run of this id that you may see here.", "", pluginserver.LevelInfo},
	CodeRunEnded:                         {409, "The run has ended by itself; there is nothing to cancel.", "", pluginserver.LevelInfo},
	CodeBodyNotJSON:                      {400, "The body isn't valid JSON.", "", pluginserver.LevelInfo},
	CodeBodyNotObject:                    {400, "The body must be a JSON object that holds the run's parameters.", "", pluginserver.LevelInfo},
	CodeBodyTooLarge:                     {413, "The body is too large.", "", pluginserver.LevelInfo},
	CodeBodyTypeUnsupported:              {415, "The body must be application/json.", "", pluginserver.LevelInfo},
	CodeIdempotencyKey:                   {400, "The Idempotency-Key must be one header of 1 to 255 visible ASCII characters.", "", pluginserver.LevelInfo},
	CodeParentStampInvalid:               {400, "The Kong-Prefect-Stamp of the run that asks for this one is not good here: it has expired, was altered, or isn't this gateway's. Without the header the run starts in the name of the token's account alone.", "", pluginserver.LevelNotice},
	CodeStampFailed:                      {500, "The run can't be stamped with its caller, so it wasn't started; the operator finds the reason in the gateway's log.", "", pluginserver.LevelErr},
	CodeParametersInvalid:                {422, "The parameters don't fit the deployment; 'violations' lists each of them.", "", pluginserver.LevelInfo},
	CodeParameterForbidden:               {422, "The parameters hold something that no caller may send; 'violations' lists it.", "", pluginserver.LevelNotice},
	policy.ReasonLimit:                   {422, "The parameters are too large, too many or nested too deeply; 'violations' says where.", "", pluginserver.LevelInfo},
	policy.ReasonBound:                   {422, "A parameter that this route sets itself can't be set by the request; leave it out.", "", pluginserver.LevelNotice},
	policy.ReasonClaimMissing:            {403, "This run needs something that your token doesn't say of you; 'violations' names the claim. Ask the provider's administrator for it.", insufficientScope, pluginserver.LevelNotice},
	policy.ReasonState:                   {422, "A run's state can't be set by a request; leave 'state' out.", "", pluginserver.LevelNotice},
	policy.ReasonJobVariables:            {422, "This route doesn't let callers change how a run is executed; leave 'job_variables' out.", "", pluginserver.LevelNotice},
	policy.ReasonWorkQueue:               {422, "This route doesn't let callers choose a work queue; leave 'work_queue_name' out.", "", pluginserver.LevelNotice},
	policy.ReasonLabels:                  {422, "This route doesn't let callers set labels; leave 'labels' out.", "", pluginserver.LevelNotice},
	policy.ReasonSchemaCheck:             {422, "Parameters are always checked; leave 'enforce_parameter_schema' out.", "", pluginserver.LevelNotice},
	policy.ReasonField:                   {422, "The body holds a field of Prefect's that this route doesn't let callers set; 'violations' names it.", "", pluginserver.LevelNotice},
	policy.ReasonFieldValue:              {422, "A field of the run has a value that it can't have; 'violations' names it.", "", pluginserver.LevelInfo},
	policy.ReasonReserved:                {422, "A tag or label has a name that only the gateway writes; choose another.", "", pluginserver.LevelNotice},
	CodePolicyDenied:                     {403, "You have a role here, but this isn't allowed for you now, with these parameters; ask the route's owner for its rules.", insufficientScope, pluginserver.LevelNotice},
	CodePathUnknown:                      {404, "There is nothing at this path.", "", pluginserver.LevelInfo},
	CodeQueryInvalid:                     {400, "The query can't be read.", "", pluginserver.LevelInfo},
	CodeDeploymentNotOffered:             {404, "There is no deployment of this name that may be started here; ask the route's owner which there are.", "", pluginserver.LevelInfo},
	CodeDeploymentUndecided:              {403, "This route starts nothing for a caller like you; ask its owner.", insufficientScope, pluginserver.LevelNotice},
	CodeDeploymentPaused:                 {503, "This route's deployment is paused, which isn't your fault; its operator finds it in the gateway's log.", "", pluginserver.LevelErr},
	CodeDeploymentNoWorkPool:             {503, "Nothing executes this route's deployment now, which isn't your fault; its operator finds it in the gateway's log.", "", pluginserver.LevelErr},
	CodeDeploymentUnknown:                {502, "This route's deployment doesn't exist; its operator finds the name in the gateway's log.", "", pluginserver.LevelErr},
	CodePrefectUnauthorized:              {502, "The workflow engine can't be used now; its operator finds the reason in the gateway's log.", "", pluginserver.LevelErr},
	CodePrefectUnavailable:               {503, "The workflow engine can't be reached now; try again, with the same Idempotency-Key.", "", pluginserver.LevelErr},
	CodePrefectRefused:                   {502, "The workflow engine refused the run; its operator finds the reason in the gateway's log.", "", pluginserver.LevelErr},
	CodePrefectBusy:                      {503, "The workflow engine has too much to do now; try again, with the same Idempotency-Key.", "", pluginserver.LevelWarn},
	CodeIdempotencyConflict:              {409, "This Idempotency-Key belongs to another run; use a new one.", "", pluginserver.LevelNotice},
	CodeIdempotencyKeyReused:             {422, "This Idempotency-Key was used for a request with another body; use a new key for a new request.", "", pluginserver.LevelNotice},
	CodeOutcomeUnknown:                   {504, "It isn't known whether the run was started; repeat the request with the same Idempotency-Key to find out, it starts at most one run.", "", pluginserver.LevelErr},
	CodeAuditUnavailable:                 {503, "The request can't be put on record now, so it wasn't carried out; its operator finds the reason in the gateway's log.", "", pluginserver.LevelErr},
	CodeOutboxFull:                       {503, "The workflow engine is away, and no further requests can be kept for it now; try again later, with the same Idempotency-Key.", "", pluginserver.LevelErr},
	CodeOutboxUnavailable:                {503, "The workflow engine is away or behind, and the request couldn't be kept for it for certain; try again, with the same Idempotency-Key.", "", pluginserver.LevelErr},
	guard.ReasonRouteUnknown:             {403, "This isn't an operation of Prefect's API that the gateway knows, so nobody may call it.", insufficientScope, pluginserver.LevelNotice},
	guard.ReasonPermissionMissing:        {403, "You are known here, but none of your roles may do this; ask the gateway's operator for one that may.", insufficientScope, pluginserver.LevelNotice},
	guard.ReasonNotYours:                 {403, "You may do this to the runs that you started yourself, and this isn't one.", insufficientScope, pluginserver.LevelNotice},
	guard.ReasonFieldNotAllowed:          {403, "The body holds something that you may not send; 'violations' names it.", insufficientScope, pluginserver.LevelNotice},
	guard.ReasonBodyUnreadable:           {400, "The body can't be understood, and what it asks for decides who may ask; 'violations' says where.", "", pluginserver.LevelInfo},
	guard.ReasonOutOfLimit:               {404, "There is nothing here that you may see.", "", pluginserver.LevelInfo},
	guard.ReasonLimited:                  {403, "Your role is limited to some deployments, and this can't be limited to them.", insufficientScope, pluginserver.LevelNotice},
	guard.ReasonLimitUnresolved:          {503, "Prefect was asked whether you may do this, and can't be reached now; try again.", "", pluginserver.LevelErr},
	pluginserver.ReasonPanic:             {500, "The gateway failed at this request; its operator finds the reason in the log.", "", pluginserver.LevelErr},
	pluginserver.ReasonTimeout:           {504, "The gateway took too long for this request; its operator finds the reason in the log.", "", pluginserver.LevelErr},
	pluginserver.ReasonUnsendable:        {500, "The gateway failed at this request; its operator finds the reason in the log.", "", pluginserver.LevelErr},
	pluginserver.ReasonUnreadable:        {400, "The request can't be read.", "", pluginserver.LevelWarn},
}

// kindOf finds a code's kind; a code that isn't listed is a fault of ours and
// refuses all the same.
func kindOf(code string) kind {
	if k, ok := kinds[code]; ok {
		return k
	}
	return kind{http.StatusInternalServerError, "The gateway refused this request.", "", pluginserver.LevelErr}
}

package guard

import (
	"errors"
	"fmt"
)

// Reasons of refusals: stable codes, the same in answer, log and audit.
const (
	// ReasonRouteUnknown: the request is none of the table's operations.
	ReasonRouteUnknown = "route_unknown"
	// ReasonPermissionMissing: no role of the caller holds the permission.
	ReasonPermissionMissing = "permission_missing"
	// ReasonNotYours: the caller may do this to their own runs alone.
	ReasonNotYours = "run_not_yours"
	// ReasonFieldNotAllowed: the body holds what this caller may not send.
	ReasonFieldNotAllowed = "field_not_allowed"
	// ReasonBodyUnreadable: the permission depends on the body, and it can't
	// be understood.
	ReasonBodyUnreadable = "body_unreadable"
	// ReasonOutOfLimit: there is no such thing, or none that the caller's
	// limited role may know of: the answer is the same.
	ReasonOutOfLimit = "not_found"
	// ReasonLimited: a limited role can't do this at all.
	ReasonLimited = "limited_role"
	// ReasonStampFailed: the caller can't be written onto the run.
	ReasonStampFailed = "stamp_failed"
	// ReasonLimitUnresolved: what the caller is limited to can't be had now.
	ReasonLimitUnresolved = "limit_unresolved"
)

// Refusal is why a request doesn't pass.
type Refusal struct {
	Reason string
	// Permission is the missing one, where one would help.
	Permission string
	// Pointer is where in the body the fault is (RFC 6901), where it is there.
	Pointer string
	// Detail completes the sentence for the caller; it holds nothing that
	// they didn't send or may not know.
	Detail string
	// Cause is for the operator alone.
	Cause error
}

func (r *Refusal) Error() string {
	s := r.Reason
	if r.Permission != "" {
		s += ": " + r.Permission
	}
	if r.Pointer != "" {
		s += " at " + r.Pointer
	}
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	if r.Cause != nil {
		s += ": " + r.Cause.Error()
	}
	return s
}

func (r *Refusal) Unwrap() error { return r.Cause }

// RefusalOf finds the refusal in an error.
func RefusalOf(err error) (*Refusal, bool) {
	var r *Refusal
	ok := errors.As(err, &r)
	return r, ok
}

func missing(permission string) error {
	return &Refusal{Reason: ReasonPermissionMissing, Permission: permission}
}

func field(pointer, format string, args ...any) error {
	return &Refusal{Reason: ReasonFieldNotAllowed, Pointer: pointer, Detail: fmt.Sprintf(format, args...)}
}

// fieldNeeds refuses a field that a caller with the permission could send.
func fieldNeeds(pointer, permission, what string) error {
	return &Refusal{Reason: ReasonFieldNotAllowed, Pointer: pointer, Permission: permission, Detail: what}
}

func unreadable(pointer, detail string) error {
	return &Refusal{Reason: ReasonBodyUnreadable, Pointer: pointer, Detail: detail}
}

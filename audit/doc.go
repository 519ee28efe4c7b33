// Package audit is the record of who ran what: under which rule, with which
// outcome, and with proof that nothing is missing or changed.
//
// The log is a folder of files with one JSON object a line. Each line names
// the SHA-256 of the line before it and a number without gaps; checkpoints,
// signed with the gateway's own key, come in between. [Verify] needs nothing
// but the folder and the public keys.
//
// The files are the truth, and all else follows them: outcomes of runs and
// sinks read the log and keep their place in it, so a slow or dead sink loses
// nothing, and the next process goes on where one was killed.
//
// It refuses to forget: an event that can't be written is an error of the
// request that caused it. It holds no credentials, and nothing here deletes a
// record.
//
// Read [Log.Append] first, then [Verify].
package audit

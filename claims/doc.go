// Package claims turns a verified token into one [Identity], whatever the
// identity provider: what each provider calls things is data, one file in presets/. What
// no preset says is said in the configuration ([Options]).
//
// It refuses what it can't read for certain: a claim of another type than its
// preset expects fails the request, because a guess about a group is a guess
// about a permission. Names, e-mail addresses and groups stay exactly as the
// provider wrote them; nothing is trimmed, split, folded or lower-cased.
//
// Read [Mapper.Identity] first.
package claims

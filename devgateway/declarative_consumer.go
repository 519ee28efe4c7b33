package devgateway

import (
	"slices"

	"github.com/google/uuid"
)

func (r *declReader) consumer(d dict, path []any) {
	if d == nil {
		return
	}
	f := r.fields(d, path)
	c := &Consumer{CreatedAt: r.now}
	c.ID, c.Username, c.CustomID = f.str("id", ""), f.str("username", ""), f.str("custom_id", "")
	c.Tags = f.strings("tags")
	f.skip("keyauth_credentials", "acls", "created_at", "updated_at")
	f.rest()
	if c.Username == "" && c.CustomID == "" {
		r.say(path, "at least one of these fields must be non-empty: 'custom_id', 'username'")
	}
	if c.ID == "" {
		c.ID = entityUUID("consumers", firstNonEmpty(c.Username, c.CustomID))
	}
	r.unique(path, "consumers", "", c.ID)
	r.people[c.ID] = c
	if c.Username != "" {
		r.people[c.Username] = c
	}
	r.out.Consumers = append(r.out.Consumers, c)
	r.credentials(d, path, c)
}

func (r *declReader) credentials(d dict, path []any, c *Consumer) {
	owner := func(f *fieldReader) *Consumer {
		if c != nil {
			return c
		}
		ref := f.ref("consumer")
		if r.people[ref] == nil {
			r.say(append(slices.Clone(f.path), "consumer"), "no consumer %q in this file", ref)
		}
		return r.people[ref]
	}
	for i, e := range r.entries(d, path, "keyauth_credentials") {
		f := r.fields(e, append(slices.Clone(path), "keyauth_credentials", i))
		cred := &Credential{ID: f.str("id", ""), Key: f.str("key", "")}
		if who := owner(f); who != nil {
			cred.ConsumerID = who.ID
		}
		f.skip("tags", "ttl", "created_at")
		f.rest()
		if cred.Key == "" {
			cred.Key = uuid.NewString()
		}
		if cred.ID == "" {
			cred.ID = entityUUID("keyauth_credentials", cred.Key)
		}
		r.out.Credentials = append(r.out.Credentials, cred)
	}
	for i, e := range r.entries(d, path, "acls") {
		f := r.fields(e, append(slices.Clone(path), "acls", i))
		group := f.str("group", "")
		if group == "" {
			r.say(append(slices.Clone(f.path), "group"), "required field missing")
		}
		if who := owner(f); who != nil {
			who.Groups = append(who.Groups, group)
		}
		f.skip("id", "tags", "created_at")
		f.rest()
	}
}

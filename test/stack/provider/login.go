package provider

import (
	"context"
	"html/template"
	"net/http"
)

const loginPath = "/login"

// loginForm is the one page of the provider.
type loginForm struct {
	storage  *storage
	callback func(ctx context.Context, authRequestID string) string
}

var loginPage = template.Must(template.New("login").Parse(`<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Log in</title>
<form method="post" action="` + loginPath + `">
<input type="hidden" name="id" value="{{.ID}}">
<label>User <input name="username" autocomplete="username"></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button>Log in</button> <b>{{.Problem}}</b>
</form></html>
`))

func (l loginForm) show(w http.ResponseWriter, r *http.Request) {
	l.render(w, http.StatusOK, r.FormValue("id"), "")
}

func (l loginForm) render(w http.ResponseWriter, status int, id, problem string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = loginPage.Execute(w, struct{ ID, Problem string }{id, problem}) // the client has gone
}

func (l loginForm) check(w http.ResponseWriter, r *http.Request) {
	id := r.PostFormValue("id")
	if !l.storage.logIn(id, r.PostFormValue("username"), r.PostFormValue("password")) {
		l.render(w, http.StatusForbidden, id, "User or password is wrong.")
		return
	}
	http.Redirect(w, r, l.callback(r.Context(), id), http.StatusFound)
}

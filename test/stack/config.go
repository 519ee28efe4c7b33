package stack

import (
	"bytes"
	"os"
	"text/template"
)

// WriteConfig fills in the template of a kong.yml, a file, writes it to a path, and returns that path.
func WriteConfig(path, templateFile string, values any) (string, error) {
	text, err := template.ParseFiles(templateFile)
	if err != nil {
		return "", err
	}
	var filled bytes.Buffer
	if err := text.Execute(&filled, values); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, filled.Bytes(), 0o600)
}

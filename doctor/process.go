package doctor

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/kong-prefect/kong-prefect/plugin"
)

// process asks whether the plugin process lives and runs what it should: by
// the gateway's answers, and on its own port where that is known.
func (x *examination) process(ctx context.Context) {
	const check = "process"
	answered, dead := 0, 0
	for _, a := range x.answers {
		switch {
		case a.err == nil && a.code() != "":
			answered++
		case a.err != nil && a.err != errBudget, a.status == http.StatusInternalServerError:
			dead++
		}
	}
	switch {
	case dead > 0:
		x.add(Finding{Check: check, Verdict: Danger, Says: fmt.Sprintf("%d of %d targets answer without it", dead, len(x.answers)),
			Means: "The plugin process is dead, hangs or can't be reached. Nobody is let in, and nothing is open.",
			Do:    "See whether kong-prefect runs, whether its socket is where Kong looks, and what the gateway's log says."})
	case answered > 0:
		x.add(Finding{Check: check, Verdict: OK, Says: fmt.Sprintf("answers on %d targets", answered)})
	default:
		x.unknown(check, "no target was answered by a plugin", "Give --config kong.yml, or --path for each.")
	}
	if x.Process == "" {
		x.unknown("process's own port", "not asked", "Give --process http://127.0.0.1:8710 on the gateway's machine, where it runs with serve --listen.")
		return
	}
	base, err := url.Parse(strings.TrimSuffix(x.Process, "/"))
	if err != nil || base.Host == "" {
		x.unknown("process's own port", "--process is no address", "Give it as http://127.0.0.1:8710.")
		return
	}
	ready := x.probe.ask(ctx, question{base: base, path: "/readyz"})
	switch {
	case ready.err != nil:
		x.add(Finding{Check: check, Target: "own port", Verdict: Danger, Says: ready.err.Error(), Means: "The process isn't there.", Do: "Start it; look at what it wrote last."})
		return
	case ready.status != http.StatusOK:
		x.add(Finding{Check: check, Target: "own port", Verdict: Danger, Says: "isn't ready: " + firstLines(ready.body), Means: "It can't do its work.", Do: "The lines say what is in its way."})
	default:
		x.add(Finding{Check: check, Target: "own port", Verdict: OK, Says: "ready"})
	}
	x.measured(x.probe.ask(ctx, question{base: base, path: "/metrics"}))
}

// measured reads what the process says of itself.
func (x *examination) measured(a answer) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(a.body))
	if a.err != nil || err != nil || a.status != http.StatusOK {
		x.unknown("metrics", "can't be read", "")
		return
	}
	each := func(name string, visit func(m *dto.Metric, value float64)) {
		if f := families["kong_prefect_"+name]; f != nil {
			for _, m := range f.Metric {
				visit(m, m.GetGauge().GetValue()+m.GetCounter().GetValue())
			}
		}
	}
	each("build_info", func(m *dto.Metric, _ float64) {
		f := Finding{Check: "version", Verdict: OK, Says: "the process runs " + label(m, "version")}
		if label(m, "version") != plugin.Version {
			f.Verdict, f.Means, f.Do = Warning, "This command is of "+plugin.Version+": one of the two is old.", "Restart the process with the new binary, or use the one that it runs."
		}
		x.add(f)
	})
	each("configurations_broken", func(m *dto.Metric, n float64) {
		if n > 0 {
			x.add(Finding{Check: "configuration", Verdict: Danger, Says: fmt.Sprintf("%.0f configurations of %s that requests met lately can't work", n, label(m, "plugin")),
				Means: "Their routes refuse everybody.", Do: "The gateway's log names the field."})
		}
	})
	each("issuer_keys_failing", func(m *dto.Metric, n float64) {
		f := Finding{Check: "issuer's keys in the process", Target: label(m, "issuer"), Verdict: OK, Says: "are had"}
		if n > 0 {
			f.Verdict, f.Says = Danger, fmt.Sprintf("couldn't be had %.0f times in a row", n)
			f.Means, f.Do = "Tokens are refused once the old keys are an hour old.", "See whether the gateway's machine reaches the issuer."
		}
		x.add(f)
	})
	each("signing_key_rotation_due_timestamp_seconds", func(_ *dto.Metric, at float64) {
		due := time.Unix(int64(at), 0).UTC()
		f := Finding{Check: "gateway's signing key", Verdict: OK, Says: "is replaced on " + due.Format(time.DateOnly)}
		if time.Until(due) < -24*time.Hour {
			f.Verdict, f.Means, f.Do = Warning, "It should have been replaced by now.", "See whether the process may write its key file."
		}
		x.add(f)
	})
	each("signing_keys_unreadable", func(_ *dto.Metric, n float64) {
		if n > 0 {
			x.add(Finding{Check: "gateway's signing key", Verdict: Danger, Says: "its file can't be used", Means: "The keys of before stay in use; a restart would fail.", Do: "Mend the file; its owner and mode count too."})
		}
	})
	each("audit_unwritable", func(_ *dto.Metric, n float64) {
		if n > 0 {
			x.add(Finding{Check: "audit", Verdict: Danger, Says: "can't be written", Means: "What must be on record is refused.", Do: "Look at the disk."})
		}
	})
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.Label {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func firstLines(body []byte) string {
	text := strings.Join(strings.Fields(string(body)), " ")
	return text[:min(len(text), 300)]
}

// Serves the series of a text exposition through client_golang: what the exporter's scrapes are measured against.
// Arguments: the file, and the address to listen on.
package main

import (
	"bufio"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func main() {
	file, err := os.Open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	gauges := map[string]*prometheus.GaugeVec{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		name, labels, _ := strings.Cut(line[:at], "{")
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			log.Fatal(err)
		}
		var names, values []string
		// No value that the benchmark generates has a comma, a brace or a quote in it.
		for _, label := range strings.Split(strings.TrimSuffix(labels, "}"), ",") {
			if key, text, found := strings.Cut(label, "="); found {
				names, values = append(names, key), append(values, strings.Trim(text, `"`))
			}
		}
		gauge := gauges[name]
		if gauge == nil {
			gauge = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: "As the exporter has it."}, names)
			registry.MustRegister(gauge)
			gauges[name] = gauge
		}
		gauge.WithLabelValues(values...).Set(value)
	}
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	log.Fatal(http.ListenAndServe(os.Args[2], nil))
}

{{/*
Which values contradict each other? Fails with all of them at once, as `keygate check` does. What `keygate check` finds by itself
is left to it.
*/}}
{{- define "keygate.check" -}}
{{- $config := default dict .Values.config -}}
{{- $shutdown := default dict $config.shutdown -}}
{{- $problems := list -}}

{{- if and (not .Values.existingConfigMap) (not $config.routes) (not $config.include) -}}
  {{- $problems = append $problems "config.routes: required. `config` is the whole keygate.yaml: add issuers or a store, upstreams and routes, or name a ConfigMap in existingConfigMap" -}}
{{- end -}}

{{- range $index, $listener := $config.listeners -}}
  {{- if not (include "keygate.port" $listener.address) -}}
    {{- $problems = append $problems (printf "config.listeners[%d].address: %q is not an address with a port, such as 0.0.0.0:8080" $index (toString $listener.address)) -}}
  {{- end -}}
{{- end -}}
{{- if not (get (include "keygate.listeners" . | fromJson) "listeners") -}}
  {{- $problems = append $problems "config.listeners: other pods can reach none of these addresses; listen on 0.0.0.0 or [::]" -}}
{{- end -}}

{{- $admin := toString (default dict $config.admin).address -}}
{{- if not (include "keygate.port" $admin) -}}
  {{- $problems = append $problems "config.admin.address: required, such as 0.0.0.0:9090; probes request /livez and /readyz there" -}}
{{- else if eq (include "keygate.isLoopback" $admin) "true" -}}
  {{- $problems = append $problems (printf "config.admin.address: only the pod itself can reach %q, and probes come from the node; listen on 0.0.0.0 or [::]" $admin) -}}
{{- end -}}

{{- $durations := true -}}
{{- range $key := list "delay" "drain" -}}
  {{- $text := index $shutdown $key -}}
  {{- if and (not (kindIs "invalid" $text)) (not (include "keygate.millis" $text)) -}}
    {{- $durations = false -}}
    {{- $problems = append $problems (printf "config.shutdown.%s: %q is not a duration such as 500ms, 30s, 5m or 1h" $key (toString $text)) -}}
  {{- end -}}
{{- end -}}
{{- if $durations -}}
  {{- $grace := mul 1000 (include "keygate.gracePeriod" .) -}}
  {{- if le $grace (int64 (include "keygate.shutdownMillis" .)) -}}
    {{- $problems = append $problems (printf "terminationGracePeriodSeconds: %s s is too short: the kubelet would kill Keygate before it has finished. It must be longer than config.shutdown.delay + config.shutdown.drain (%s + %s). Increase it or remove it" (include "keygate.gracePeriod" .) (toString (default "0s" $shutdown.delay)) (toString (default "30s" $shutdown.drain))) -}}
  {{- end -}}
{{- end -}}

{{- if and $config.store (not .Values.persistence.enabled) -}}
  {{- $problems = append $problems "config.store: set persistence.enabled, otherwise each new pod starts with an empty store" -}}
{{- end -}}
{{- if .Values.persistence.enabled -}}
  {{- if not $config.store -}}
    {{- $problems = append $problems "persistence.enabled: set config.store.path, such as /var/lib/keygate/keygate.db" -}}
  {{- else if not (regexMatch "^/var/lib/keygate/[^/]" (toString $config.store.path)) -}}
    {{- $problems = append $problems (printf "config.store.path: %q is not in /var/lib/keygate, where the volume is mounted" (toString $config.store.path)) -}}
  {{- end -}}
  {{- if gt (int (include "keygate.replicas" .)) 1 -}}
    {{- $problems = append $problems (printf "replicas: with persistence there is one replica, not %s: each replica would have a store, and so credentials, of its own" (include "keygate.replicas" .)) -}}
  {{- end -}}
  {{- if .Values.autoscaling.enabled -}}
    {{- $problems = append $problems "autoscaling.enabled: with persistence there is one replica" -}}
  {{- end -}}
{{- else if and $config.identity_token (not (default dict $config.identity_token).signing_key_file) -}}
  {{- $problems = append $problems "config.identity_token: set signing_key_file, such as secrets/identity.pem; otherwise each pod makes a key of its own, and /oauth/jwks shows upstreams only one of them" -}}
{{- end -}}

{{- if and (regexMatch "\"(file:)?(/etc/keygate/)?secrets/" (toJson $config)) (not .Values.secretFiles.secretName) -}}
  {{- $problems = append $problems "secretFiles.secretName: required, because config names files in secrets/" -}}
{{- end -}}
{{- if and (regexMatch "\"(file:)?(/etc/keygate/)?tls/" (toJson $config)) (not .Values.tls.secretName) -}}
  {{- $problems = append $problems "tls.secretName: required, because config names files in tls/" -}}
{{- end -}}

{{- if $problems -}}
  {{- fail (printf "these values cannot be used:\n- %s" (join "\n- " $problems)) -}}
{{- end -}}
{{- end }}

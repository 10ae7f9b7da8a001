{{/* What follows from the configuration for the pod: ports, replicas, the grace period? */}}

{{/* The port of an address such as 0.0.0.0:8080 or [::]:8080; nothing for another text. */}}
{{- define "keygate.port" -}}
{{- regexFind ":[0-9]+$" (toString .) | trimPrefix ":" -}}
{{- end }}

{{/* "true" for an address that only the pod itself can reach. */}}
{{- define "keygate.isLoopback" -}}
{{- regexMatch "^(127\\.|\\[::1\\]:|\\[::ffff:127\\.)" (toString .) -}}
{{- end }}

{{/*
The listeners that other pods can reach, as JSON: {"listeners": [{name, port, servicePort, nodePort, appProtocol}]}. A name is the
protocol, with the port behind it if several listeners have the same protocol.
*/}}
{{- define "keygate.listeners" -}}
{{- $found := list -}}
{{- $kinds := dict -}}
{{- range $listener := (.Values.config).listeners -}}
  {{- $port := include "keygate.port" $listener.address -}}
  {{- if eq (include "keygate.isLoopback" $listener.address) "false" -}}
    {{- $kind := "http" -}}
    {{- $appProtocol := "http" -}}
    {{- if $listener.tls -}}
      {{- $kind = "https" -}}
      {{- $appProtocol = "https" -}}
    {{- else if eq (default "http1" $listener.protocol) "h2c" -}}
      {{- $kind = "h2c" -}}
      {{- $appProtocol = "kubernetes.io/h2c" -}}
    {{- end -}}
    {{- $_ := set $kinds $kind (add1 (default 0 (get $kinds $kind))) -}}
    {{- $found = append $found (dict "kind" $kind "port" $port "appProtocol" $appProtocol) -}}
  {{- end -}}
{{- end -}}
{{- $named := list -}}
{{- range $found -}}
  {{- $name := .kind -}}
  {{- if gt (int (get $kinds .kind)) 1 -}}
    {{- $name = printf "%s-%s" .kind .port -}}
  {{- end -}}
  {{- $servicePort := int (default .port (get $.Values.service.ports .port)) -}}
  {{- $nodePort := int (default 0 (get $.Values.service.nodePorts .port)) -}}
  {{- $named = append $named (dict "name" $name "port" (int .port) "servicePort" $servicePort "nodePort" $nodePort "appProtocol" .appProtocol) -}}
{{- end -}}
{{- dict "listeners" $named | toJson -}}
{{- end }}

{{- define "keygate.adminPort" -}}
{{- include "keygate.port" ((.Values.config).admin).address -}}
{{- end }}

{{/* The milliseconds of a duration such as 500ms, 30s, 5m, 1h or 1d; nothing for another text. */}}
{{- define "keygate.millis" -}}
{{- if regexMatch "^[0-9]{1,9}(ms|s|m|h|d)$" (toString .) -}}
{{- $each := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- mul (regexFind "^[0-9]+" .) (get $each (regexFind "[a-z]+$" .)) -}}
{{- end -}}
{{- end }}

{{/* The longest time from SIGTERM to the end of the process, in milliseconds, with the defaults of Keygate. */}}
{{- define "keygate.shutdownMillis" -}}
{{- $shutdown := default dict (.Values.config).shutdown -}}
{{- add (include "keygate.millis" (default "0s" $shutdown.delay)) (include "keygate.millis" (default "30s" $shutdown.drain)) -}}
{{- end }}

{{/* The margin of 15 s is for what runs outside of `drain`: the start of the signal and the end of the process. */}}
{{- define "keygate.gracePeriod" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- add 15 (div (add 999 (include "keygate.shutdownMillis" .)) 1000) -}}
{{- else -}}
{{- int64 .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end }}

{{- define "keygate.replicas" -}}
{{- if not (kindIs "invalid" .Values.replicas) -}}
{{- int .Values.replicas -}}
{{- else if .Values.persistence.enabled -}}
1
{{- else -}}
2
{{- end -}}
{{- end }}

{{- define "keygate.configMapName" -}}
{{- default (include "keygate.fullname" .) .Values.existingConfigMap -}}
{{- end }}

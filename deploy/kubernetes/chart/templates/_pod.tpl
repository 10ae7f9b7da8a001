{{/* What does a pod look like, with a store or without one? */}}

{{/*
There is no checksum annotation: Keygate reloads changed files, so a change of the ConfigMap or Secret needs no new pods. The
kubelet updates the files within about a minute.
*/}}
{{- define "keygate.podTemplate" -}}
metadata:
  labels:
    {{- include "keygate.selectorLabels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "keygate.serviceAccountName" . }}
  automountServiceAccountToken: false
  # Keygate reads no variables about other Services.
  enableServiceLinks: false
  # Longer than shutdown.delay + shutdown.drain, because the kubelet kills the process when this time is over.
  terminationGracePeriodSeconds: {{ include "keygate.gracePeriod" . }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not (kindIs "invalid" .Values.topologySpreadConstraints) }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- else if not .Values.persistence.enabled }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - topologyKey: {{ . }}
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "keygate.selectorLabels" $ | nindent 10 }}
      # Count only pods of the same revision, so that pods are still spread evenly after an update.
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
  containers:
    - name: keygate
      image: {{ include "keygate.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [keygate, run, --config, /etc/keygate/keygate.yaml]
      # `kubectl exec -i … -- keygate check - <keygate.yaml` then finds the files that a new configuration names.
      workingDir: /etc/keygate
      {{- with .Values.extraArgs }}
      args:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        {{- range get (include "keygate.listeners" . | fromJson) "listeners" }}
        - name: {{ .name }}
          containerPort: {{ .port }}
          protocol: TCP
        {{- end }}
        - name: admin
          containerPort: {{ include "keygate.adminPort" . }}
          protocol: TCP
      # There is no preStop sleep: after SIGTERM, Keygate continues to accept connections for shutdown.delay, while
      # /readyz fails. A sleep would only add to that time.
      startupProbe:
        httpGet: { path: /livez, port: admin }
        {{- toYaml .Values.startupProbe | nindent 8 }}
      livenessProbe:
        httpGet: { path: /livez, port: admin }
        {{- toYaml .Values.livenessProbe | nindent 8 }}
      readinessProbe:
        httpGet: { path: /readyz, port: admin }
        {{- toYaml .Values.readinessProbe | nindent 8 }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      # `kubectl describe pod` then shows why a configuration does not load.
      terminationMessagePolicy: FallbackToLogsOnError
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      # Mount whole folders: the kubelet does not update files that are mounted with subPath.
      volumeMounts:
        - name: config
          mountPath: /etc/keygate
          readOnly: true
        {{- if .Values.secretFiles.secretName }}
        - name: secrets
          mountPath: /etc/keygate/secrets
          readOnly: true
        {{- end }}
        {{- if .Values.tls.secretName }}
        - name: tls
          mountPath: /etc/keygate/tls
          readOnly: true
        {{- end }}
        - name: data
          mountPath: /var/lib/keygate
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "keygate.configMapName" . }}
        defaultMode: 0444
    {{- with .Values.secretFiles.secretName }}
    - name: secrets
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- with .Values.tls.secretName }}
    - name: tls
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- if not .Values.persistence.enabled }}
    - name: data
      emptyDir:
        sizeLimit: 64Mi
    {{- else if .Values.persistence.existingClaim }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ .Values.persistence.existingClaim }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

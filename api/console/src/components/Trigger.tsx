import { Button, Checkbox, Drawer, NumberInput, SegmentedControl, Select, TextInput, Textarea } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { type FormEvent, useState } from 'react'
import { Problem, call } from '../api/client'
import * as queries from '../api/queries'
import type { DagDetails, DagRun, ParamSchema } from '../api/types'
import { t } from '../i18n'
import { paths } from '../util/paths'
import { ProblemView, Waiting } from './Views'

type Values = Record<string, unknown>

/** Starts a run: a form made from the schema of its parameters, or the same as JSON. */
export function TriggerDrawer({ tenant, dag, close }: { tenant: string; dag: string; close: () => void }) {
  const details = useQuery(queries.dagDetails(tenant, dag))
  return (
    <Drawer opened onClose={close} title={t('trigger.title', { dag })} size={440}>
      {details.data === undefined && details.isError && <ProblemView error={details.error} />}
      {details.data === undefined && !details.isError && <Waiting rows={3} />}
      {details.data !== undefined && <Form tenant={tenant} details={details.data} close={close} />}
    </Drawer>
  )
}

function Form({ tenant, details, close }: { tenant: string; details: DagDetails; close: () => void }) {
  const params = Object.entries(details.params ?? {})
  const start = Object.fromEntries(params.map(([name, param]) => [name, param.value ?? null]))
  const [values, setValues] = useState<Values>(start)
  const [json, setJson] = useState<string>()
  const [name, setName] = useState('')
  const [note, setNote] = useState('')
  const [wrong, setWrong] = useState<string>()
  const client = useQueryClient()
  const navigate = useNavigate()
  const asked = useMutation({
    mutationFn: (conf: Values) =>
      call<DagRun>(paths.of(tenant).trigger(details.dag_id), {
        method: 'POST',
        body: {
          logical_date: null,
          conf,
          ...(name === '' ? {} : { dag_run_id: name }),
          ...(note === '' ? {} : { note }),
        },
      }),
    onSuccess: async (run) => {
      for (const key of ['dags', 'home', 'grid']) void client.invalidateQueries({ queryKey: [key, tenant] })
      close()
      await navigate({ to: '/t/$tenant/dags/$dag/runs/$run', params: { tenant, dag: run.dag_id, run: run.dag_run_id } })
    },
  })
  const send = (event: FormEvent) => {
    event.preventDefault()
    setWrong(undefined)
    if (json === undefined) {
      // What is left at its default is the DAG's to say.
      asked.mutate(Object.fromEntries(Object.entries(values).filter(([key, value]) => value !== start[key])))
      return
    }
    try {
      const conf: unknown = JSON.parse(json)
      if (conf === null || typeof conf !== 'object' || Array.isArray(conf)) throw new SyntaxError(t('trigger.object'))
      asked.mutate(conf as Values)
    } catch (error) {
      setWrong(error instanceof Error ? error.message : String(error))
    }
  }
  const at = asked.error instanceof Problem ? asked.error.fields : []
  return (
    <form onSubmit={send} style={{ display: 'flex', flexDirection: 'column', gap: 12 }}>
      {details.is_paused && <p className="soft">{t('trigger.paused')}</p>}
      {params.length > 0 && (
        <SegmentedControl
          aria-label={t('trigger.how')}
          data={[
            { value: 'form', label: t('trigger.form') },
            { value: 'json', label: 'JSON' },
          ]}
          value={json === undefined ? 'form' : 'json'}
          onChange={(how) => setJson(how === 'json' ? JSON.stringify(values, null, 2) : undefined)}
        />
      )}
      {json !== undefined ? (
        <Textarea
          label={t('trigger.conf')}
          autosize
          minRows={6}
          value={json}
          error={wrong}
          styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)' } }}
          onChange={(event) => setJson(event.currentTarget.value)}
        />
      ) : (
        params.map(([key, param]) => (
          <SchemaField
            key={key}
            name={key}
            schema={param.schema}
            value={values[key]}
            error={at.find((one) => one.at.includes(key))?.detail}
            set={(value) => setValues((old) => ({ ...old, [key]: value }))}
          />
        ))
      )}
      {params.length === 0 && json === undefined && <p className="soft">{t('trigger.none')}</p>}
      <TextInput
        label={t('trigger.name')}
        description={t('trigger.nameMore')}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      <TextInput label={t('trigger.note')} value={note} onChange={(event) => setNote(event.currentTarget.value)} />
      {asked.isError && <ProblemView error={asked.error} />}
      <div className="bar">
        <Button type="submit" loading={asked.isPending}>
          {t('trigger.start')}
        </Button>
        <Button variant="default" onClick={close}>
          {t('action.cancel')}
        </Button>
      </div>
    </form>
  )
}

/** A field for a value that a JSON Schema describes. */
export function SchemaField({
  name,
  schema,
  value,
  error,
  set,
}: {
  name: string
  schema: ParamSchema
  value: unknown
  error?: string | undefined
  set: (value: unknown) => void
}) {
  const types = Array.isArray(schema.type) ? schema.type : [schema.type ?? 'string']
  const type = types.find((one) => one !== 'null') ?? 'string'
  const usual = { label: schema.title ?? name, description: schema.description, error }
  if (schema.enum !== undefined) {
    const texts = schema.enum.map((one) => JSON.stringify(one))
    return (
      <Select
        {...usual}
        data={texts.map((text, at) => ({ value: text, label: String(schema.enum?.[at]) }))}
        value={value === null || value === undefined ? null : JSON.stringify(value)}
        allowDeselect={types.includes('null')}
        onChange={(text) => set(text === null ? null : JSON.parse(text))}
      />
    )
  }
  switch (type) {
    case 'boolean':
      return <Checkbox {...usual} checked={value === true} onChange={(event) => set(event.currentTarget.checked)} />
    case 'integer':
    case 'number':
      return (
        <NumberInput
          {...usual}
          allowDecimal={type === 'number'}
          {...(schema.minimum === undefined ? {} : { min: schema.minimum })}
          {...(schema.maximum === undefined ? {} : { max: schema.maximum })}
          value={typeof value === 'number' ? value : ''}
          onChange={(n) => set(n === '' ? null : Number(n))}
        />
      )
    case 'array':
    case 'object':
      return <JsonField {...usual} value={value} set={set} />
    default:
      return (
        <TextInput
          {...usual}
          type={schema.format === 'date' ? 'date' : 'text'}
          value={typeof value === 'string' ? value : ''}
          onChange={(event) => set(event.currentTarget.value)}
        />
      )
  }
}

function JsonField({
  value,
  set,
  error,
  ...usual
}: {
  label: string
  description?: string | undefined
  error?: string | undefined
  value: unknown
  set: (value: unknown) => void
}) {
  const [text, setText] = useState(JSON.stringify(value ?? null))
  const [wrong, setWrong] = useState<string>()
  return (
    <Textarea
      {...usual}
      autosize
      value={text}
      error={wrong ?? error}
      onChange={(event) => {
        setText(event.currentTarget.value)
        try {
          set(JSON.parse(event.currentTarget.value))
          setWrong(undefined)
        } catch {
          setWrong(t('trigger.noJson'))
        }
      }}
    />
  )
}

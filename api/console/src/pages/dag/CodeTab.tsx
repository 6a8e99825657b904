import { SegmentedControl, Select } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useNavigate, useParams, useSearch } from '@tanstack/react-router'
import * as queries from '../../api/queries'
import type { DagVersion } from '../../api/types'
import { CodeView, DiffView } from '../../components/Code'
import { CopyId } from '../../components/CopyId'
import { TimeText } from '../../components/Time'
import { Answer, Empty } from '../../components/Views'
import { t } from '../../i18n'
import { type ModelChange, changes } from '../../util/diff'

/** The text of a version and its model, alone or beside another version. */
export function CodeTab() {
  const { tenant, dag } = useParams({ from: '/inside/t/$tenant/dags/$dag/code' })
  const search = useSearch({ from: '/inside/t/$tenant/dags/$dag/code' })
  const navigate = useNavigate({ from: '/t/$tenant/dags/$dag/code' })
  const found = useQuery(queries.versions(tenant, dag))
  return (
    <Answer of={found} rows={8}>
      {({ dag_versions: all }) => {
        const version = all.find((one) => one.version_number === search.version) ?? all[0]
        if (version === undefined) return <Empty icon="code" title={t('code.none')} />
        const against = all.find((one) => one.version_number === search.against && one !== version)
        const what = search.what ?? 'source'
        const name = (one: DagVersion) => ({ value: String(one.version_number), label: t('dag.version', { n: one.version_number }) })
        return (
          <>
            <div className="bar" style={{ marginBottom: 12 }}>
              <Select
                aria-label={t('run.version')}
                data={all.map(name)}
                value={String(version.version_number)}
                allowDeselect={false}
                w={90}
                onChange={(one) => void navigate({ search: (old) => ({ ...old, version: Number(one) }) })}
              />
              <Select
                aria-label={t('code.against')}
                placeholder={t('code.against')}
                clearable
                data={all.filter((one) => one !== version).map(name)}
                value={against === undefined ? null : String(against.version_number)}
                w={150}
                disabled={all.length < 2}
                onChange={(one) => void navigate({ search: (old) => ({ ...old, against: one === null ? undefined : Number(one) }) })}
              />
              <SegmentedControl
                aria-label={t('code.what')}
                data={[
                  { value: 'source', label: t('code.source') },
                  { value: 'model', label: t('code.model') },
                ]}
                value={what}
                onChange={(to) => void navigate({ search: (old) => ({ ...old, what: to === 'model' ? 'model' : undefined }) })}
              />
              <span className="soft small">
                {t('code.since')} <TimeText at={version.created_at} />
              </span>
            </div>
            {against !== undefined && <Readable tenant={tenant} dag={dag} before={against} after={version} />}
            {what === 'source' ? (
              <Source tenant={tenant} dag={dag} version={version} against={against} />
            ) : (
              <Model tenant={tenant} dag={dag} version={version} against={against} />
            )}
          </>
        )
      }}
    </Answer>
  )
}

interface Of {
  tenant: string
  dag: string
  version: DagVersion
  against: DagVersion | undefined
}

function Source({ tenant, dag, version, against }: Of) {
  const now = useQuery(queries.source(tenant, dag, version.version_number))
  const before = useQuery({ ...queries.source(tenant, dag, against?.version_number ?? 0), enabled: against !== undefined })
  return (
    <Answer of={now} rows={8}>
      {(of) => (
        <section className="panel" aria-labelledby="source">
          <h2 id="source" className="bar">
            <span className="mono">{of.file}</span> <CopyId text={of.content ?? ''} />
          </h2>
          {against === undefined ? (
            <CodeView text={of.content ?? ''} label={of.file} />
          ) : (
            <Answer of={before} rows={6}>
              {(old) => <DiffView before={old.content ?? ''} after={of.content ?? ''} label={of.file} />}
            </Answer>
          )}
        </section>
      )}
    </Answer>
  )
}

function Model({ tenant, dag, version, against }: Of) {
  const now = useQuery(queries.model(tenant, dag, version.version))
  const before = useQuery({ ...queries.model(tenant, dag, against?.version), enabled: against !== undefined })
  const text = (model: unknown) => JSON.stringify(model, null, 2)
  return (
    <Answer of={now} rows={8}>
      {(of) => (
        <section className="panel" aria-labelledby="model">
          <h2 id="model" className="bar">
            {t('code.canonical')} <span className="soft mono">{of.version.slice(0, 16)}</span>
            <CopyId text={text(of.model)} />
          </h2>
          {against === undefined ? (
            <CodeView text={text(of.model)} label={t('code.canonical')} />
          ) : (
            <Answer of={before} rows={6}>
              {(old) => <DiffView before={text(old.model)} after={text(of.model)} label={t('code.canonical')} />}
            </Answer>
          )}
        </section>
      )}
    </Answer>
  )
}

/** What the difference means for the DAG, before the lines. */
function Readable({ tenant, dag, before, after }: { tenant: string; dag: string; before: DagVersion; after: DagVersion }) {
  const old = useQuery(queries.model(tenant, dag, before.version))
  const now = useQuery(queries.model(tenant, dag, after.version))
  if (old.data === undefined || now.data === undefined) return null
  const found = changes(old.data.model, now.data.model)
  return (
    <section className="panel" aria-labelledby="readable" style={{ marginBottom: 12 }}>
      <h2 id="readable">{t('code.changes', { from: before.version_number, to: after.version_number })}</h2>
      {found.length === 0 ? (
        <p style={{ padding: '0 12px' }}>{t('code.same')}</p>
      ) : (
        <ul style={{ margin: '8px 0', paddingLeft: 28 }}>
          {found.map((change, at) => (
            <li key={at}>{said(change)}</li>
          ))}
        </ul>
      )}
    </section>
  )
}

function said(change: ModelChange): string {
  switch (change.what) {
    case 'added':
      return t('code.added', { task: change.task })
    case 'removed':
      return t('code.removed', { task: change.task })
    case 'changed':
      return t('code.changed', { task: change.task, fields: change.fields.join(', ') })
    case 'field':
      return t('code.field', { field: change.field })
  }
}

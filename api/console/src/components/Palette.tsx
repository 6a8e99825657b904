import { Spotlight, type SpotlightActionData, createSpotlight } from '@mantine/spotlight'
import { useDebouncedValue } from '@mantine/hooks'
import { useInfiniteQuery } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useState } from 'react'
import * as queries from '../api/queries'
import { t } from '../i18n'
import { Icon } from './Icon'

const [store, palette] = createSpotlight()

export function openPalette(): void {
  palette.open()
}

/** Search and verbs: what is local comes at once, what the server finds a moment later. */
export function Palette({ tenant }: { tenant: string }) {
  const [text, type] = useState('')
  const [wanted] = useDebouncedValue(text.trim(), 80)
  const navigate = useNavigate()
  const found = useInfiniteQuery({ ...queries.dags(tenant, { name: wanted }), enabled: wanted !== '' })
  const places: SpotlightActionData[] = [
    { id: 'home', label: t('nav.home'), onClick: () => void navigate({ to: '/t/$tenant', params: { tenant } }) },
    { id: 'dags', label: t('nav.dags'), onClick: () => void navigate({ to: '/t/$tenant/dags', params: { tenant } }) },
    { id: 'runs', label: t('nav.runs'), onClick: () => void navigate({ to: '/t/$tenant/runs', params: { tenant } }) },
    { id: 'tasks', label: t('nav.tasks'), onClick: () => void navigate({ to: '/t/$tenant/tasks', params: { tenant } }) },
    { id: 'approvals', label: t('nav.approvals'), onClick: () => void navigate({ to: '/t/$tenant/approvals', params: { tenant } }) },
    { id: 'capacity', label: t('nav.capacity'), onClick: () => void navigate({ to: '/t/$tenant/capacity', params: { tenant } }) },
  ]
  const dags: SpotlightActionData[] = (found.data?.pages[0]?.items ?? []).slice(0, 20).map((dag) => ({
    id: `dag:${dag.dag_id}`,
    label: dag.dag_id,
    ...(dag.description === null ? {} : { description: dag.description }),
    onClick: () => void navigate({ to: '/t/$tenant/dags/$dag', params: { tenant, dag: dag.dag_id } }),
  }))
  return (
    <Spotlight
      store={store}
      actions={[
        { group: t('palette.dags'), actions: dags },
        { group: t('palette.places'), actions: places },
      ]}
      shortcut={['mod + K']}
      query={text}
      onQueryChange={type}
      nothingFound={t('palette.nothing')}
      highlightQuery
      limit={30}
      searchProps={{ leftSection: <Icon name="search" />, placeholder: t('palette.hint'), 'aria-label': t('palette.hint') }}
    />
  )
}

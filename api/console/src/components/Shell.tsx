import { ActionIcon, AppShell, Burger, Button, Kbd, Menu, Modal, Tooltip, useMantineColorScheme } from '@mantine/core'
import { useDisclosure } from '@mantine/hooks'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, Outlet, useNavigate, useParams, useRouter } from '@tanstack/react-router'
import { useEffect } from 'react'
import { call } from '../api/client'
import { live, useHealth } from '../api/live'
import * as queries from '../api/queries'
import { type Key, type Language, languages, t, useLanguage } from '../i18n'
import type { IconName } from '../theme/states'
import { shortcuts } from '../util/keys'
import { paths } from '../util/paths'
import { prefer, usePreferences } from '../util/preferences'
import { useKeys } from '../util/useKeys'
import { Icon } from './Icon'
import { Palette, openPalette } from './Palette'
import css from './shell.module.css'

interface Place {
  to: string
  name: Key
  icon: IconName
  verb?: string
  exact?: boolean
}

const places: Place[] = [
  { to: '/t/$tenant', name: 'nav.home', icon: 'home', exact: true },
  { to: '/t/$tenant/dags', name: 'nav.dags', icon: 'dags' },
  { to: '/t/$tenant/runs', name: 'nav.runs', icon: 'play', verb: 'runs' },
  { to: '/t/$tenant/tasks', name: 'nav.tasks', icon: 'list', verb: 'tasks' },
  { to: '/t/$tenant/approvals', name: 'nav.approvals', icon: 'hand', verb: 'tasks' },
  { to: '/t/$tenant/assets', name: 'nav.assets', icon: 'layers', verb: 'assets' },
  { to: '/t/$tenant/capacity', name: 'nav.capacity', icon: 'gauge', verb: 'pools' },
]

const administration: Place[] = [
  { to: '/t/$tenant/admin/members', name: 'nav.members', icon: 'user', verb: 'members' },
  { to: '/t/$tenant/admin/groups', name: 'nav.groups', icon: 'layers', verb: 'members' },
  { to: '/t/$tenant/admin/service-accounts', name: 'nav.services', icon: 'plug', verb: 'members' },
  { to: '/t/$tenant/admin/permissions', name: 'nav.permissions', icon: 'check' },
  { to: '/t/$tenant/admin/roles', name: 'nav.roles', icon: 'key', verb: 'members' },
  { to: '/t/$tenant/admin/variables', name: 'nav.variables', icon: 'code', verb: 'variables' },
  { to: '/t/$tenant/admin/connections', name: 'nav.connections', icon: 'plug', verb: 'connections' },
  { to: '/t/$tenant/admin/pools', name: 'nav.pools', icon: 'gauge', verb: 'pools' },
  { to: '/t/$tenant/admin/audit', name: 'nav.audit', icon: 'log', verb: 'audit' },
]

export function Shell() {
  const language = useLanguage()
  const { tenant } = useParams({ strict: false }) as { tenant?: string }
  const client = useQueryClient()
  const stream = live(client)
  const { data: me } = useQuery(queries.me)
  const at = tenant ?? me?.tenants[0]
  const [opened, menu] = useDisclosure(false)
  const [helps, help] = useDisclosure(false)
  const navigate = useNavigate()
  const { zone, exact } = usePreferences()
  // The stream belongs to the tenant on the screen, and to nobody once the console is left.
  useEffect(() => {
    stream.of(at)
    return () => stream.of(undefined)
  }, [stream, at])
  const go = (to: string) => () => {
    if (at !== undefined) void navigate({ to, params: { tenant: at } })
  }
  useKeys({
    '?': help.open,
    'g h': go('/t/$tenant'),
    'g d': go('/t/$tenant/dags'),
    'g r': go('/t/$tenant/runs'),
    'g t': go('/t/$tenant/tasks'),
    'g a': go('/t/$tenant/approvals'),
    'g c': go('/t/$tenant/capacity'),
    z: () => prefer({ zone: zone === 'UTC' ? 'local' : 'UTC' }),
    '.': () => prefer({ exact: !exact }),
    y: () => void navigator.clipboard.writeText(location.href),
  })
  if (at === undefined || me === undefined) return null
  return (
    <AppShell
      key={language}
      header={{ height: 48 }}
      navbar={{ width: 200, breakpoint: 768, collapsed: { mobile: !opened } }}
      padding={0}
    >
      <a href="#main" className="skip">
        {t('skip')}
      </a>
      <AppShell.Header className={css['head']}>
        <Burger
          opened={opened}
          onClick={menu.toggle}
          hiddenFrom="sm"
          size="sm"
          aria-label={opened ? t('nav.close') : t('nav.open')}
        />
        <Link to="/t/$tenant" params={{ tenant: at }} className={css['brand']}>
          <span className={css['logo']} aria-hidden="true" />
          <span className={css['word']}>Updraft</span>
        </Link>
        <TenantMenu tenant={at} tenants={me.tenants} />
        <button type="button" className={css['search']} onClick={openPalette} aria-label={`${t('palette.open')} Ctrl K`}>
          <Icon name="search" size={14} />
          <span className="wide">{t('palette.open')}</span>
          <Kbd size="xs" className="wide">
            Ctrl K
          </Kbd>
        </button>
        <div className={css['tools']}>
          <Connection />
          <ZoneMenu />
          <LanguageMenu />
          <SchemeToggle />
          <UserMenu name={me.name} help={help.open} />
        </div>
      </AppShell.Header>
      <AppShell.Navbar className={css['nav'] ?? ''} aria-label={t('nav.main')}>
        <NavLinks tenant={at} admin={me.platform_admin} onGo={menu.close} />
      </AppShell.Navbar>
      <AppShell.Main id="main">
        <Outage />
        <Outlet />
      </AppShell.Main>
      <Palette tenant={at} />
      <Modal opened={helps} onClose={help.close} title={t('keys.title')} size="lg">
        <div className={css['keys']}>
          {shortcuts.map((group) => (
            <section key={group.title}>
              <h2>{t(group.title)}</h2>
              <dl>
                {group.keys.map((one) => (
                  <div key={one.keys}>
                    <dt>
                      <Kbd size="xs">{one.keys}</Kbd>
                    </dt>
                    <dd>{t(one.says)}</dd>
                  </div>
                ))}
              </dl>
            </section>
          ))}
        </div>
      </Modal>
    </AppShell>
  )
}

const platform: Place[] = [
  { to: '/system/users', name: 'nav.users', icon: 'user' },
  { to: '/system/tenants', name: 'nav.tenants', icon: 'layers' },
  { to: '/system/workers', name: 'nav.workers', icon: 'gauge' },
  { to: '/system/config', name: 'nav.config', icon: 'settings' },
]

function NavLinks({ tenant, admin, onGo }: { tenant: string; admin: boolean; onGo: () => void }) {
  const { data: home } = useQuery({ ...queries.home(tenant), enabled: false })
  const { data: allowed } = useQuery(queries.allowed(tenant))
  const link = (place: Place) => {
    const off = place.verb !== undefined && allowed?.[place.verb]?.allowed === false
    const n = place.name === 'nav.home' ? (home?.failed.length ?? 0) : place.name === 'nav.approvals' ? (home?.asked.length ?? 0) : 0
    if (off) {
      return (
        <Tooltip key={place.to} label={allowed?.[place.verb ?? '']?.reason} position="right" withinPortal>
          <span className={css['link']} data-off role="link" aria-disabled="true" tabIndex={0}>
            <Icon name={place.icon} />
            {t(place.name)}
          </span>
        </Tooltip>
      )
    }
    return (
      <Link
        key={place.to}
        to={place.to}
        params={{ tenant } as never}
        className={css['link']}
        activeOptions={{ exact: place.exact ?? false, includeSearch: false }}
        activeProps={{ 'aria-current': 'page' }}
        onClick={onGo}
      >
        <Icon name={place.icon} />
        {t(place.name)}
        {n > 0 && (
          <span className={css['count']} aria-label={t('nav.need', { n })}>
            {n}
          </span>
        )}
      </Link>
    )
  }
  return (
    <>
      {places.map(link)}
      <p className={css['section']}>{t('nav.admin')}</p>
      {administration.map(link)}
      {admin && (
        <>
          <p className={css['section']}>{t('nav.platform')}</p>
          {platform.map(link)}
        </>
      )}
    </>
  )
}

function TenantMenu({ tenant, tenants }: { tenant: string; tenants: readonly string[] }) {
  const navigate = useNavigate()
  return (
    <Menu position="bottom-start" width={220}>
      <Menu.Target>
        <Button variant="subtle" color="gray" size="compact-sm" className={css['tenant'] ?? ''} aria-label={t('tenant.switch', { tenant })}>
          {tenant}
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        {tenants.map((one) => (
          <Menu.Item key={one} onClick={() => void navigate({ to: '/t/$tenant', params: { tenant: one } })}>
            {one}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  )
}

function Connection() {
  const health = useHealth(live(useQueryClient()))
  const label = health.state === 'live' ? t('live.on') : health.state === 'broken' ? t('live.broken') : t('live.off')
  return (
    <Tooltip label={label} withinPortal>
      <span className={css['dot']} data-state={health.state} role="status" aria-label={label}>
        <span className="wide">{health.state === 'live' ? t('live.word') : label}</span>
      </span>
    </Tooltip>
  )
}

function Outage() {
  const health = useHealth(live(useQueryClient()))
  if (health.state !== 'broken') return null
  return (
    <div className={css['outage']} role="alert">
      <Icon name="alert" size={14} /> {t('live.broken')}
    </div>
  )
}

function ZoneMenu() {
  const { zone } = usePreferences()
  const own = new Intl.DateTimeFormat().resolvedOptions().timeZone
  return (
    <Button
      variant="subtle"
      color="gray"
      size="compact-xs"
      onClick={() => prefer({ zone: zone === 'UTC' ? 'local' : 'UTC' })}
      aria-label={t('zone.switch', { zone: zone === 'UTC' || own === 'UTC' ? 'UTC' : t('zone.local') })}
    >
      {zone === 'UTC' || own === 'UTC' ? 'UTC' : t('zone.local')}
    </Button>
  )
}

function LanguageMenu() {
  const { language } = usePreferences()
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <ActionIcon aria-label={t('language')} className="wide">
          <Icon name="globe" />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {(Object.entries(languages) as [Language, string][]).map(([one, name]) => (
          <Menu.Item key={one} lang={one} onClick={() => prefer({ language: one })} fw={one === language ? 600 : 400}>
            {name}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  )
}

function SchemeToggle() {
  const { colorScheme, setColorScheme } = useMantineColorScheme()
  const next = colorScheme === 'dark' ? 'light' : 'dark'
  return (
    <ActionIcon aria-label={t(next === 'dark' ? 'scheme.dark' : 'scheme.light')} onClick={() => setColorScheme(next)}>
      <Icon name={next === 'dark' ? 'moon' : 'sun'} />
    </ActionIcon>
  )
}

function UserMenu({ name, help }: { name: string; help: () => void }) {
  const navigate = useNavigate()
  const router = useRouter()
  const client = useQueryClient()
  const leave = async () => {
    await call(paths.session, { method: 'DELETE' })
    live(client).of(undefined)
    await navigate({ to: '/login' })
    client.clear()
    await router.invalidate()
  }
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <Button variant="subtle" color="gray" size="compact-xs" leftSection={<Icon name="user" size={14} />} aria-label={t('user.menu', { name })}>
          <span className="wide">{name}</span>
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item onClick={() => void navigate({ to: '/me' })}>{t('user.settings')}</Menu.Item>
        <Menu.Item onClick={help}>{t('keys.title')}</Menu.Item>
        <Menu.Item onClick={() => void leave()}>{t('user.signOut')}</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  )
}

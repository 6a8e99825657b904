import './theme/styles'
import { MantineProvider } from '@mantine/core'
import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { setNonce } from 'get-nonce'
import { Problem, onSignedOut } from './api/client'
import { useLanguage, speak } from './i18n'
import { makeRouter } from './router'
import { makeTheme, variables } from './theme/mantine'
import { trust } from './trusted'
import { ownPath } from './util/own'
import { preferences, usePreferences } from './util/preferences'
import { hearChords } from './util/useKeys'
import { useEffect, useMemo } from 'react'

trust()
hearChords()

const client = new QueryClient({
  defaultOptions: {
    queries: {
      // What was refused stays refused; what broke on the way may come.
      retry: (failures, error) => failures < 2 && !(error instanceof Problem && error.status < 500),
      refetchOnWindowFocus: false,
      gcTime: 10 * 60_000,
    },
  },
})
const router = makeRouter(client)

onSignedOut(() => {
  if (location.pathname === '/login') return
  client.clear()
  const next = ownPath(location.pathname + location.search)
  void router.navigate({ to: '/login', search: next === undefined || next === '/' ? {} : { next } })
})

const nonce = document.querySelector<HTMLMetaElement>('meta[name=nonce]')?.content
// What holds the page still behind a dialog writes a style of its own.
if (nonce !== undefined) setNonce(nonce)

function App() {
  const spoken = useLanguage()
  const { language } = usePreferences()
  // The catalogue of another language is loaded when it is chosen.
  useEffect(() => void speak(language), [language])
  const theme = useMemo(() => ({ spoken, theme: makeTheme() }), [spoken]).theme
  return (
    <MantineProvider
      theme={theme}
      cssVariablesResolver={variables}
      defaultColorScheme="auto"
      {...(nonce === undefined ? {} : { getStyleNonce: () => nonce })}
    >
      <QueryClientProvider client={client}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>
  )
}

const place = document.getElementById('root')
if (place === null) throw new Error('the page has no #root')
void speak(preferences().language).finally(() => {
  createRoot(place).render(
    <StrictMode>
      <App />
    </StrictMode>,
  )
})

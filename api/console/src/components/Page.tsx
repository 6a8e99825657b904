import { useDocumentTitle } from '@mantine/hooks'
import { useRouterState } from '@tanstack/react-router'
import { type ReactNode, useEffect, useRef } from 'react'

let announced = ''

/** A page: its heading takes the focus when one comes to it, and the tab's title says its state first. */
export function Page({ title, tab, children }: { title: ReactNode; tab: string; children: ReactNode }) {
  useDocumentTitle(`${tab} · Updraft`)
  const path = useRouterState({ select: (state) => state.location.pathname })
  const head = useRef<HTMLHeadingElement>(null)
  // Moves the focus after a change of route, as a new document would.
  useEffect(() => {
    if (announced !== '' && announced !== path) head.current?.focus({ preventScroll: true })
    announced = path
  }, [path])
  return (
    <div className="page">
      <div className="bar" style={{ marginBottom: 12 }}>
        <h1 ref={head} tabIndex={-1} className="bar" style={{ flex: '1 1 auto', minWidth: 0 }}>
          {title}
        </h1>
      </div>
      {children}
    </div>
  )
}

import { Button, type ButtonProps, Tooltip } from '@mantine/core'
import type { ReactNode } from 'react'
import type { Verdict } from '../api/types'

/** A button for something that may be out of reach: then it is there all the same, and says what it would take. */
export function Act({
  verdict,
  why,
  onClick,
  children,
  ...rest
}: ButtonProps & {
  'aria-label'?: string
  verdict?: Verdict | undefined
  why?: string | undefined
  onClick: () => void
  children: ReactNode
}) {
  const reason = why ?? (verdict?.allowed === false ? (verdict.reason ?? '') : undefined)
  const off = reason !== undefined
  return (
    <Tooltip label={reason} disabled={!off} withinPortal multiline maw={320}>
      <Button
        variant="default"
        {...rest}
        aria-disabled={off}
        {...(off ? { 'data-disabled': true, 'aria-description': reason } : {})}
        onClick={() => {
          if (!off) onClick()
        }}
      >
        {children}
      </Button>
    </Tooltip>
  )
}
